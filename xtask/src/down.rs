//! `make down`: takes away what `make up` brought.

use std::process::ExitCode;

use anyhow::Result;
use freshet_e2e::node::binaries::{self, Program};
use freshet_e2e::product::chart;
use freshet_e2e::progress::step;

use crate::up::{InstanceArgs, Target, delete_quickstart};

/// Arguments of `xtask down`.
#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Uninstalls from a Kubernetes that is somebody else's; one of ours goes as a whole.
pub(crate) async fn down(args: &DownArgs) -> Result<ExitCode> {
    for target in Target::all_to_remove(&args.instance).await {
        if let Target::Context(_) = &target {
            let clients = step("kubectl and helm", async |step| {
                binaries::ensure(Program::CLIENTS, step).await
            })
            .await?;
            let (kubectl, helm) = (target.kubectl(&clients), target.helm(&clients));
            step("the example cluster", async |_| delete_quickstart(&kubectl).await).await?;
            step("Freshet", async |step| chart::uninstall(&kubectl, &helm, step).await).await?;
        }
        target.remove().await?;
    }
    if let Ok(cache) = binaries::cache_folder() {
        eprintln!("Kept: what was built, in {}, and Debian packages.", cache.display());
    }
    Ok(ExitCode::SUCCESS)
}

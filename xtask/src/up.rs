//! `make up`: a Kubernetes with Freshet on it, and a message through it.
//!
//! Each step is a module: which Kubernetes ([`target`]), the product's images and chart
//! ([`freshet_e2e::product`]), the example cluster and its first message ([`quickstart`]). All of them may be repeated: what is as
//! it should be is left alone.

mod quickstart;
mod target;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use freshet_e2e::node::binaries::{self, Program};
use freshet_e2e::node::instance::DEFAULT_INSTANCE;
use freshet_e2e::node::{Instance, InstanceName, UpOptions, packages};
use freshet_e2e::product::{Images, chart, images};
use freshet_e2e::progress::{display, step};

pub(crate) use quickstart::delete as delete_quickstart;
pub(crate) use target::Target;

/// Arguments of `xtask up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Nodes of the embedded Kubernetes [default: as many as it has; 1 when it is new].
    #[arg(long)]
    nodes: Option<u8>,
    /// Start the Kubernetes alone, with nothing installed on it.
    #[arg(long)]
    bare: bool,
    /// Registry with the product's images, for a Kubernetes that is given with KUBE_CONTEXT.
    #[arg(long, env = "FRESHET_REGISTRY")]
    registry: Option<String>,
}

/// Which embedded Kubernetes is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct InstanceArgs {
    /// Name of the embedded Kubernetes; several may run beside each other.
    #[arg(long, env = "FRESHET_INSTANCE", default_value = DEFAULT_INSTANCE)]
    instance: InstanceName,
}

impl InstanceArgs {
    pub(crate) fn instance(&self) -> Instance {
        Instance::named(self.instance.clone())
    }
}

/// Does all of it.
pub(crate) async fn up(args: &UpArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let mut target = Target::choose(&args.instance).await?;
    eprintln!("Freshet on {target}");
    let options = UpOptions { nodes: args.nodes };
    if args.bare {
        target.start(options).await?;
        target.print_how_to_look();
        return Ok(ExitCode::SUCCESS);
    }
    let groups = [packages::Group::Images, packages::Group::Clients];
    step("Debian packages", async |step| packages::ensure(&groups, step).await).await?;
    // Before the Kubernetes: what does not compile is said soonest.
    let images = match target.takes_archives() {
        true => step("Freshet's images", images::build).await?,
        false => Images::in_registry(args.registry.as_deref()),
    };
    let clients = step("kubectl and helm", async |step| {
        binaries::ensure(Program::CLIENTS, step).await
    })
    .await?;
    target.start(options).await?;
    step("images to the nodes", async |step| target.load(&images, step).await).await?;
    let (kubectl, helm) = (target.kubectl(&clients), target.helm(&clients));
    step("Freshet by Helm", async |step| {
        chart::install(&kubectl, &helm, &images, step).await
    })
    .await?;
    let endpoint = quickstart::start(&target, &kubectl).await?;
    eprintln!("Ready after {}.", display(began.elapsed()));
    quickstart::print_what_next(&endpoint);
    target.print_how_to_look();
    Ok(ExitCode::SUCCESS)
}

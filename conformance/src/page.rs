//! `docs/clients.md`, made from the tables that the scripts run by, so that it cannot say otherwise.

use std::fmt::Write as _;

use crate::cannot::CANNOT;
use crate::driver::Client;
use crate::message::Version;
use crate::scripts::{AWAITING, DEVICES, SCRIPTS, Script};

const HEAD: &str = "\
<!-- Written by `make generate` from conformance/src. -->
# Clients that are tested

`make test` runs stock MQTT clients against Freshet, each through the same scripts in MQTT 3.1.1 and 5.0. Every client
stands behind a relay of its own that shows the packets on the wire and can lose the connection, so that a script is told
once and means the same for all. `cargo run --release --bin conformance -- --client paho --script will` runs some of
them. `make soak` runs all of them on a Kubernetes, through the Service of a cluster of several proxies.
";

/// Builds the page.
pub(crate) fn build() -> String {
    let mut page = String::from(HEAD);
    clients(&mut page);
    scripts(&mut page);
    limits_of_clients(&mut page);
    page
}

fn clients(page: &mut String) {
    page.push_str("\n## Clients\n\n| client | what it is |\n| --- | --- |\n");
    for client in Client::ALL {
        let _ = writeln!(page, "| {} | {} |", client.name(), client.what());
    }
    page.push_str(
        "\nVersions are pinned in `conformance/drivers`, that of rumqttc in `Cargo.lock`; mosquitto is Debian's.\n",
    );
}

fn scripts(page: &mut String) {
    page.push_str("\n## Scripts\n\n| script | what it shows |\n| --- | --- |\n");
    script_rows(page, &SCRIPTS);
    for (script, feature) in AWAITING {
        let _ = writeln!(
            page,
            "\n`{script}` waits for {feature}, which Freshet does not offer yet."
        );
    }
    page.push_str(
        "\n## Devices\n\nLibraries of microcontrollers cannot run in a test. What is known of them is imitated on a bare \
         socket.\n\n| library | what is shown |\n| --- | --- |\n",
    );
    script_rows(page, &DEVICES);
}

fn script_rows(page: &mut String, scripts: &[Script]) {
    for script in scripts {
        let _ = write!(page, "| {} | {}", script.name, script.what);
        if let Some((version, reason)) = script.not_in {
            let _ = write!(page, " (not in {}: {reason})", version.name());
        }
        page.push_str(" |\n");
    }
}

fn limits_of_clients(page: &mut String) {
    page.push_str(
        "\n## What a client cannot show\n\n\
         Parts of scripts are left out where a client has no way to them.\n\n\
         | client | what | reason |\n| --- | --- | --- |\n",
    );
    for row in CANNOT {
        let version = row.version.map(Version::name).unwrap_or_default();
        let client = format!("{} {version}", row.client.name());
        let _ = writeln!(page, "| {} | {} | {} |", client.trim(), row.feature.name(), row.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_and_every_reason_stands_on_the_page() {
        let page = build();
        for script in SCRIPTS.iter().chain(&DEVICES) {
            assert!(
                page.contains(&format!("| {} | {}", script.name, script.what)),
                "{}",
                script.name
            );
        }
        for row in CANNOT {
            assert!(page.contains(row.reason), "{}", row.reason);
        }
    }
}

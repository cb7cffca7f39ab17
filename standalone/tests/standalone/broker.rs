//! A broker in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A broker that listens; killed when the test ends.
pub(crate) struct Broker {
    pub(crate) mqtt: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where `freshet admin` looks.
    pub(crate) inspection: SocketAddr,
    child: Child,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
    command.arg("standalone").args(arguments);
    command
}

/// Runs a broker that is expected to end by itself.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = command(arguments).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

impl Broker {
    /// A broker on a port of the system's choice, with further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments)
    }

    /// Starts one with variables in its environment.
    pub(crate) fn start_in(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut child = command(&["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .args(["--admin", "127.0.0.1:0"])
            .envs(variables.iter().copied())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address_behind = |scheme: &str| -> SocketAddr {
            let line = lines.next().expect("a line that says where").unwrap();
            let (_, rest) = line.split_once(scheme).unwrap_or_else(|| panic!("{line}"));
            let end = rest.find([' ', '/']).unwrap_or(rest.len());
            rest[..end].parse().unwrap()
        };
        let (mqtt, admin) = (address_behind("mqtt://"), address_behind("http://"));
        let inspection = address_behind("http://");
        Self {
            mqtt,
            admin,
            inspection,
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    pub(crate) fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

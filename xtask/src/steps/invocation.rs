//! A command line as data: printed before it runs, and the same each time it runs.

use std::{ffi::OsString, fmt, path::PathBuf};

use freshet_e2e::command::variables_of_cargo;

/// A program with its arguments, and where and with which environment it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    dir: Option<PathBuf>,
}

impl Invocation {
    /// A program by path, or by name from `PATH`.
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
        }
    }

    /// The cargo that runs this program, or the one in `PATH`.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
    }

    /// Adds arguments.
    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable besides those that are inherited.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Runs in `dir` instead of the current one.
    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The command to spawn.
    pub(crate) fn to_command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        for name in variables_of_cargo() {
            command.env_remove(name);
        }
        command.args(&self.args).envs(self.env.iter().cloned());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", value.to_string_lossy())?;
        }
        let program = self.program.file_name().unwrap_or(self.program.as_os_str());
        f.write_str(&program.to_string_lossy())?;
        for arg in &self.args {
            let arg = arg.to_string_lossy();
            if arg.is_empty() || arg.contains(|c: char| c.is_whitespace() || "'\"$*;|&<>".contains(c)) {
                write!(f, " '{arg}'")?;
            } else {
                write!(f, " {arg}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says_of_this_package_is_not_handed_on() {
        let command = Invocation::new("x").env("CARGO_PKG_NAME", "chosen").to_command();
        let of = |name: &str| {
            command
                .get_envs()
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value)
        };
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo runs this test");
        assert_eq!(of("CARGO_MANIFEST_DIR"), Some(None));
        assert_eq!(of("CARGO_PKG_NAME"), Some(Some("chosen".as_ref())));
    }

    #[test]
    fn it_prints_as_one_would_type_it() {
        let invocation = Invocation::new("/usr/bin/cargo")
            .args(["test", "a b"])
            .env("RUSTFLAGS", "-Dwarnings");
        assert_eq!(invocation.to_string(), "RUSTFLAGS=-Dwarnings cargo test 'a b'");
    }
}

//! The files that a program needs to run in an image that holds nothing else.

use std::path::Path;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::Entry;
use crate::command;
use crate::node::packages::find_program;

/// Returns a program, stripped of debugging tables, with its shared libraries, their loader, and the few files of
/// `/etc` that the C library reads.
///
/// # Errors
/// When the program cannot be read, or one of its libraries is not on this machine.
pub async fn files_of_program(program: &Path, path_in_image: &str) -> anyhow::Result<Vec<Entry>> {
    let listed = libraries(program).await?;
    let mut entries = vec![
        Entry::file(path_in_image, 0o755, stripped(program).await?),
        Entry::file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n".to_vec(),
        ),
        Entry::file("etc/group", 0o644, b"root:x:0:\nnonroot:x:65532:\n".to_vec()),
        Entry::file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n".to_vec()),
    ];
    for library in listed {
        let content = std::fs::read(&library).with_context(|| format!("cannot read {library}"))?;
        entries.push(Entry::file(&library, 0o755, content));
    }
    Ok(entries)
}

/// The program without debugging tables, which are most of its bytes; the names that a backtrace prints stay.
async fn stripped(program: &Path) -> anyhow::Result<Vec<u8>> {
    let temporary = std::env::temp_dir().join(format!("freshet-strip-{}", std::process::id()));
    let mut strip = Command::new(find_program("strip")?);
    command::run(strip.arg("--strip-debug").arg("-o").arg(&temporary).arg(program)).await?;
    let content = std::fs::read(&temporary).with_context(|| format!("cannot read {}", temporary.display()));
    let _ = std::fs::remove_file(&temporary);
    content
}

/// The shared libraries that a program is linked with, and its loader; none for a static one.
async fn libraries(program: &Path) -> anyhow::Result<Vec<String>> {
    let mut ldd = Command::new(find_program("ldd")?);
    match command::run(ldd.env("LC_ALL", "C").arg(program)).await {
        Ok(listed) => parse_ldd(&listed),
        Err(error) if format!("{error:#}").contains("not a dynamic executable") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads `ldd`: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`, `linux-vdso.so.1 (0x…)`.
fn parse_ldd(listed: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for line in listed.lines().map(str::trim) {
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        if path.starts_with("not found") {
            bail!("a shared library is missing: {line}");
        }
        // The kernel brings the one without a slash.
        if path.starts_with('/') {
            found.push(path.split_whitespace().next().unwrap_or(path).to_owned());
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_files_and_the_kernels_own_is_not() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse_ldd(listed).unwrap(), expected);
        assert_eq!(parse_ldd("\tstatically linked\n").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_library_that_is_not_found_is_an_error() {
        assert!(parse_ldd("\tlibrocksdb.so => not found\n").is_err());
    }

    #[tokio::test]
    async fn this_very_program_comes_with_the_c_library() {
        let files = files_of_program(&std::env::current_exe().unwrap(), "/usr/bin/self")
            .await
            .unwrap();
        assert_eq!(files[0].path, "usr/bin/self");
        assert!(files.iter().any(|entry| entry.path.contains("libc.so")));
    }
}

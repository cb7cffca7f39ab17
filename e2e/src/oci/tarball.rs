//! Tar archives that depend on their content alone.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;

/// A file or folder of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies, without the first slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Content,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A folder; those above a file need not be named.
    Folder,
    /// A file.
    File(Vec<u8>),
}

impl Entry {
    /// A file.
    #[must_use]
    pub fn file(path: &str, mode: u32, content: Vec<u8>) -> Self {
        Self {
            path: path.trim_start_matches('/').to_owned(),
            mode,
            content: Content::File(content),
        }
    }

    /// A folder.
    #[must_use]
    pub fn folder(path: &str, mode: u32) -> Self {
        Self {
            path: path.trim_start_matches('/').to_owned(),
            mode,
            content: Content::Folder,
        }
    }
}

/// Writes entries, sorted, with the folders above them.
pub(super) fn write(entries: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let named: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let above: BTreeSet<&str> = entries
        .iter()
        .flat_map(|entry| Path::new(&entry.path).ancestors().skip(1))
        .filter_map(Path::to_str)
        .filter(|path| !path.is_empty() && !named.contains(path))
        .collect();
    let mut all: Vec<Entry> = above.into_iter().map(|path| Entry::folder(path, 0o755)).collect();
    all.extend_from_slice(entries);
    all.sort_by(|a, b| a.path.cmp(&b.path));

    let mut archive = tar::Builder::new(Vec::new());
    for entry in &all {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let (kind, content): (_, &[u8]) = match &entry.content {
            Content::Folder => (tar::EntryType::Directory, &[]),
            Content::File(content) => (tar::EntryType::Regular, content),
        };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, &entry.path, content)
            .with_context(|| format!("cannot put {} into an archive", entry.path))?;
    }
    archive.into_inner().context("cannot end an archive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_above_files_come_once_and_before_them() {
        let entries = [
            Entry::file("/a/b/d", 0o644, Vec::new()),
            Entry::file("a/b/c", 0o644, Vec::new()),
        ];
        let bytes = write(&entries).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/b/d"]);
    }
}

//! The scratch copy of the checkout, and the sources of the cores in it with all their mutants.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

use super::{
    Core,
    instrument::{Instrumented, Site, write},
    places::{self, Found},
};
use crate::{
    paths,
    steps::{Interrupt, Invocation, output_of},
};

/// How long git may take to say which files there are.
const GIT_TIMEOUT: Duration = Duration::from_secs(60);
/// What the switch needs of the compiler: to be asked in functions that the compiler may run, too.
const HEAD: &str = "#![feature(core_intrinsics, const_eval_select)]\n";
/// What asks which mutant is on, at the end of each core.
const SWITCH: &str = include_str!("switch.txt");

/// Sources that compile to all mutants at once.
pub(super) struct Sources {
    root: PathBuf,
    /// By the path from the root.
    files: BTreeMap<String, File>,
    /// Mutants that have to be compiled by themselves.
    pub(super) alone: Vec<u32>,
    /// Mutants of places that the compiler may run.
    pub(super) in_const_fn: Vec<u32>,
    /// Mutants that do not compile.
    pub(super) unviable: Vec<u32>,
}

struct File {
    original: String,
    sites: Vec<Site>,
    head: &'static str,
    tail: String,
    written: Instrumented,
}

impl Sources {
    /// Copies the checkout, and writes the mutants of the cores into it.
    ///
    /// # Errors
    /// When a file cannot be read or written, or a mutant is of another text.
    pub(super) async fn write(cores: &[Core], root: PathBuf, interrupt: &mut Interrupt) -> Result<Self> {
        copy_checkout(&root, interrupt).await?;
        let mut sources = Self {
            root,
            files: BTreeMap::new(),
            alone: Vec::new(),
            in_const_fn: Vec::new(),
            unviable: Vec::new(),
        };
        for core in cores {
            sources.add(core)?;
        }
        for path in sources.files.keys().cloned().collect::<Vec<_>>() {
            sources.write_file(&path)?;
        }
        Ok(sources)
    }

    fn add(&mut self, core: &Core) -> Result<()> {
        let library = format!("{}/src/lib.rs", core.folder);
        let mut by_file: BTreeMap<&str, Vec<u32>> = BTreeMap::from([(library.as_str(), Vec::new())]);
        for (number, mutant) in core.numbered() {
            by_file.entry(&mutant.file).or_default().push(number);
        }
        for (name, numbers) in by_file {
            let path = self.root.join(name);
            let original = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let mutants: Vec<_> = numbers.iter().filter_map(|number| core.mutant(*number)).collect();
            let found = places::find(&original, &mutants).with_context(|| name.to_owned())?;
            let mut sites: HashMap<_, BTreeMap<u32, String>> = HashMap::new();
            for (number, found) in numbers.into_iter().zip(found) {
                match found {
                    Found::Alone => self.alone.push(number),
                    Found::Unviable => self.unviable.push(number),
                    Found::Switched {
                        place,
                        text,
                        in_const_fn,
                    } => {
                        if in_const_fn {
                            self.in_const_fn.push(number);
                        }
                        sites.entry(place).or_default().insert(number, text);
                    }
                }
            }
            let sites = sites.into_iter().map(|(place, mutants)| Site { place, mutants });
            let is_library = name == library;
            let file = File {
                original,
                sites: sites.collect(),
                head: if is_library { HEAD } else { "" },
                tail: if is_library { switch(core) } else { String::new() },
                written: Instrumented::default(),
            };
            self.files.insert(name.to_owned(), file);
        }
        Ok(())
    }

    fn write_file(&mut self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        let file = self.files.get_mut(name).context("no such file")?;
        file.written = write(&file.original, &file.sites, file.head, &file.tail);
        fs::write(&path, &file.written.text).with_context(|| format!("writing {}", path.display()))
    }

    /// Where the copy is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The mutant of which a byte of a file is.
    pub(super) fn mutant_at(&self, name: &str, byte: usize) -> Option<u32> {
        self.files.get(name)?.written.mutant_at(byte)
    }

    /// The mutants of the smallest place around a byte of a file that is the source's own.
    pub(super) fn mutants_around(&self, name: &str, byte: usize) -> Vec<u32> {
        let Some(file) = self.files.get(name) else {
            return Vec::new();
        };
        let at = file.written.in_source(byte);
        let around = file.sites.iter().filter(|site| {
            let source = site.source();
            !site.mutants.is_empty() && source.start <= at && at <= source.end
        });
        let smallest = around.min_by_key(|site| site.source().len());
        smallest.map_or_else(Vec::new, |site| site.mutants.keys().copied().collect())
    }

    /// The mutants of the places between two bytes of a file.
    pub(super) fn mutants_between(&self, name: &str, from: usize, to: usize) -> Vec<u32> {
        let Some(file) = self.files.get(name) else {
            return Vec::new();
        };
        let (from, to) = (file.written.in_source(from), file.written.in_source(to));
        let between = file.sites.iter().filter(|site| {
            let source = site.source();
            from <= source.start && source.end <= to
        });
        between.flat_map(|site| site.mutants.keys().copied()).collect()
    }

    /// Takes mutants out, and writes the files that they were in.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn leave_out(&mut self, numbers: &[u32]) -> Result<()> {
        let mut changed = Vec::new();
        for (name, file) in &mut self.files {
            let mut has_changed = false;
            for site in &mut file.sites {
                for number in numbers {
                    has_changed |= site.mutants.remove(number).is_some();
                }
            }
            if has_changed {
                changed.push(name.clone());
            }
        }
        changed.iter().try_for_each(|name| self.write_file(name))
    }
}

fn switch(core: &Core) -> String {
    SWITCH
        .replace("@FIRST@", &core.first.to_string())
        .replace("@COUNT@", &core.mutants.len().to_string())
}

/// Copies what git knows of the checkout, and what is new in it.
async fn copy_checkout(to: &Path, interrupt: &mut Interrupt) -> Result<()> {
    let from = paths::repository_root();
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("removing {}", to.display()))?;
    }
    let list = Invocation::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .dir(&from);
    let names = output_of(&list, GIT_TIMEOUT, interrupt).await?;
    for name in names.split_terminator('\0') {
        let (source, target) = (from.join(name), to.join(name));
        // One that was deleted and not yet committed.
        if !source.exists() {
            continue;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        copy(&source, &target).with_context(|| format!("copying {}", source.display()))?;
    }
    Ok(())
}

/// Copies a file with its age, by which cargo goes.
fn copy(source: &Path, target: &Path) -> std::io::Result<()> {
    fs::copy(source, target)?;
    let modified: SystemTime = fs::metadata(source)?.modified()?;
    fs::File::options().write(true).open(target)?.set_modified(modified)
}

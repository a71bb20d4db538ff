//! The folder of an incident on the disk: whole or not at all, for its owner only.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::cli::export::folder_of;
use crate::cli::messages::shown;
use crate::cli::setup::LedgerPlace;
use key_guard_core::text::redact;

/// The file with the SHA-256 of each other one.
pub const SUMS: &str = "SHA256SUMS";

/// A file to be written.
#[derive(Debug)]
pub struct NewFile {
    /// Its name in the folder.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

impl NewFile {
    /// No secret gets into a file, whatever the ledger has.
    pub fn new(name: &'static str, text: &str) -> Self {
        Self { name, text: redact(text) }
    }
}

/// Where the folder goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing is there.
    New,
    /// A folder is there, with nothing in it.
    Empty,
    /// A folder is there with files, and those with our names may be replaced.
    Forced,
}

impl Place {
    /// What is there.
    ///
    /// # Errors
    /// When something is there that would be overwritten, or that is no folder.
    pub fn of(folder: &Path, force: bool, ledger: &LedgerPlace) -> anyhow::Result<Self> {
        ensure!(!ledger.has_file(folder), "{}: is a file of the ledger; name another folder", shown(folder));
        let mut found = match fs::read_dir(folder) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder_of(folder)?;
                return Ok(Self::New);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{}: --output needs a folder", shown(folder)));
            }
        };
        if found.next().is_none() {
            return Ok(Self::Empty);
        }
        if !force {
            bail!(
                "{}: the folder is not empty, and nothing is overwritten: name a new one, or replace the files of an earlier \
                 incident with --force",
                shown(folder)
            );
        }
        let folder = fs::canonicalize(folder)?;
        let is_ledger = ledger.files().iter().any(|file| file.parent() == Some(folder.as_path()));
        ensure!(!is_ledger, "{}: the ledger is in this folder; name another one", shown(&folder));
        Ok(Self::Forced)
    }
}

/// Writes the files and their hashes. A new folder gets its name when it is complete; in a folder that is there, the hashes come
/// last.
///
/// # Errors
/// When something cannot be written.
pub fn write(folder: &Path, place: Place, mut files: Vec<NewFile>) -> anyhow::Result<()> {
    files.push(sums(&files));
    let failed = || format!("{}: could not write the folder", shown(folder));
    if place != Place::New {
        close_to_others(folder).with_context(failed)?;
        if place == Place::Forced {
            // What is there until the end is of neither incident.
            remove_if_there(&folder.join(SUMS)).with_context(failed)?;
        }
        return files.iter().try_for_each(|file| put(folder, file, place)).with_context(failed);
    }
    let part =
        tempfile::Builder::new().prefix(".incident-").tempdir_in(folder_of(folder)?).with_context(failed)?;
    close_to_others(part.path()).with_context(failed)?;
    files.iter().try_for_each(|file| put(part.path(), file, place)).with_context(failed)?;
    // It fails where a folder with files has come there since.
    fs::rename(part.path(), folder).with_context(failed)?;
    let _ = part.keep();
    Ok(())
}

/// In the form that `sha256sum --check` reads.
fn sums(files: &[NewFile]) -> NewFile {
    let line = |file: &NewFile| format!("{:x}  {}\n", Sha256::digest(&file.text), file.name);
    NewFile { name: SUMS, text: files.iter().map(line).collect() }
}

/// A temporary file is for its owner only, and keeps that with its name.
fn put(folder: &Path, file: &NewFile, place: Place) -> io::Result<()> {
    let mut part = NamedTempFile::new_in(folder)?;
    part.write_all(file.text.as_bytes())?;
    part.as_file().sync_all()?;
    let path = folder.join(file.name);
    match place {
        Place::New | Place::Empty => part.persist_noclobber(path)?,
        Place::Forced => part.persist(path)?,
    };
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(unix)]
fn close_to_others(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))
}

/// Elsewhere a folder has the permissions of the one that it is in.
#[cfg(not(unix))]
fn close_to_others(_folder: &Path) -> io::Result<()> {
    Ok(())
}

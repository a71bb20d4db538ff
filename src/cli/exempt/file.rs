//! A policy file is replaced as a whole, or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

use crate::cli::messages::shown;
use crate::config::read_policy_file;

/// Writes `new` in place of `old`: into a file beside it, which is then renamed. A link stays a link. Of several processes
/// that replace the same text, one does.
///
/// # Errors
/// When it cannot be written, or the file has another text than `old` by now. Then it stays as it is.
pub fn replace(path: &Path, old: &str, new: &str) -> anyhow::Result<()> {
    // Until the new file is in its place. A process that waits then finds another text there.
    let _locked = lock(path).with_context(|| format!("could not lock {}", shown(path)))?;
    if read_policy_file(path)? != old {
        bail!(
            "{}: the file was changed in between and was left as it is: run the command again",
            shown(path)
        );
    }
    write(path, new).with_context(|| format!("could not write {}", shown(path)))
}

#[cfg(unix)]
fn lock(path: &Path) -> io::Result<fs::File> {
    let file = fs::File::open(path)?;
    file.lock()?;
    Ok(file)
}

/// Windows lets nobody read or replace a file that is locked: there, the texts are only compared.
#[cfg(not(unix))]
const fn lock(_: &Path) -> io::Result<()> {
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_in_between_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        fs::write(&path, "old").unwrap();
        assert!(replace(&path, "older", "new").unwrap_err().to_string().contains("changed in between"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        replace(&path, "old", "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
    }

    #[cfg(unix)]
    #[test]
    fn one_of_several_replaces_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        for _ in 0..50 {
            fs::write(&path, "old").unwrap();
            let start = std::sync::Barrier::new(4);
            let replaced = std::thread::scope(|scope| {
                let replace = |new| {
                    start.wait();
                    replace(&path, "old", new).map(|()| new)
                };
                let threads = ["a", "b", "c", "d"].map(|new| scope.spawn(move || replace(new)));
                threads.map(|thread| thread.join().unwrap())
            });
            let done: Vec<_> = replaced.iter().flatten().collect();
            assert_eq!(done.len(), 1, "{replaced:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), **done[0]);
            let others = replaced.iter().filter_map(|replaced| replaced.as_ref().err());
            assert!(others.into_iter().all(|error| error.to_string().contains("changed in between")));
        }
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("p.toml"), folder.path().join("link.toml"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        replace(&link, "old", "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

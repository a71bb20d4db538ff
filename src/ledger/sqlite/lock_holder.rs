//! Who has locked a ledger file, as far as the system tells.

use std::path::Path;

/// The process that may write and keeps others from it: `PID 123 (bedrock-key-guard)`. `None`: there is none any more, or
/// this system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn lock_holder(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    // In WAL mode, SQLite locks the file beside the database (SQLite, *WAL-mode File Format*).
    let files = ["", "-wal", "-shm"].into_iter().filter_map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Some(std::fs::metadata(name).ok()?.ino())
    });
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let process = holder(&locks, &files.collect::<Vec<_>>(), std::process::id())?;
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok();
    Some(match name.as_deref().map(str::trim_end) {
        Some(name) => format!("PID {process} ({name})"),
        None => format!("PID {process}"),
    })
}

/// Elsewhere, no file tells.
#[cfg(not(target_os = "linux"))]
pub(super) const fn lock_holder(_: &Path) -> Option<String> {
    None
}

/// The process that has a write lock of one of these files, by inode: `1: POSIX ADVISORY WRITE 123 08:01:4711 120 120`
/// (proc(5), *locks*). A reader holds others up only for moments. Of other namespaces, the process is 0 or less.
#[cfg(target_os = "linux")]
fn holder(locks: &str, files: &[u64], own: u32) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, _, _, "WRITE", process, file, ..] = words.as_slice() else { return None };
        let inode: u64 = file.rsplit(':').next()?.parse().ok()?;
        let process = process.parse().ok().filter(|process| *process > 0 && *process != own)?;
        files.contains(&inode).then_some(process)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_writer_of_one_of_the_files_is_found() {
        let locks = "1: POSIX  ADVISORY  READ  11 08:01:4711 124 124\n\
                     2: POSIX  ADVISORY  WRITE 12 08:01:4712 120 120\n\
                     2: -> POSIX  ADVISORY  WRITE 13 08:01:4711 120 120\n\
                     3: POSIX  ADVISORY  WRITE 14 08:01:4711 120 120\n\
                     4: FLOCK  ADVISORY  WRITE -1 08:01:4713 0 EOF\n";
        assert_eq!(holder(locks, &[4710, 4711], 1), Some(14), "13 waits");
        assert_eq!(holder(locks, &[4711], 14), None, "itself");
        assert_eq!(holder(locks, &[4713], 1), None, "nobody knows who");
        assert_eq!(holder("", &[4711], 1), None);
    }
}

//! The operator's files: bounded reads, and metadata that shows a change without reading the contents.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Limit of one file, since a device such as `/dev/zero` has no end.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The coarsest timestamp of a file system: two changes within it may have the same time.
const TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(2);

/// Why files are read, which decides whether a pipe is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadReason {
    /// The server runs. Only regular files are read: a pipe has been consumed at startup, and opening it
    /// again may block for ever.
    Reload,
    /// The server starts. Pipes are accepted, such as `/dev/stdin` or a shell's `<(command)`.
    Startup,
}

/// Metadata of a regular file that changes whenever the contents change. Other files have no stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// The time of the inode's last change, which programs cannot set, unlike `modified`.
    changed: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of a file without opening it, or `None` if it is not a regular file.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        path.metadata().map(|metadata| Self::from(&metadata))
    }

    /// Whether the stamp is old enough that a later change to the file yields a different one.
    pub(crate) fn is_settled(self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or_default());
        now.saturating_sub(changed) > TIMESTAMP_GRANULARITY
    }

    fn from(metadata: &Metadata) -> Option<Self> {
        metadata.is_file().then(|| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reads a file of at most 16 MiB, and returns the stamp it had before it was read.
///
/// # Errors
///
/// The file cannot be read, is too large, or is not a regular file in a reload.
pub(crate) fn read(path: &Path, reason: LoadReason) -> io::Result<(Vec<u8>, Option<Stamp>)> {
    if reason == LoadReason::Reload && Stamp::of(path)?.is_none() {
        return Err(io::Error::other(
            "it is not a regular file, and other files are read only at startup",
        ));
    }
    let file = File::open(path)?;
    let stamp = Stamp::from(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    Ok((bytes, stamp))
}

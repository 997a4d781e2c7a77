//! Files of the operator's: how they are read, and how it is seen that one has changed without reading it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// No settings and no certificates are larger, and a device may never end.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The coarsest clock of a file system: two changes within it may leave the same time.
const TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(2);

/// When files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadPhase {
    /// Once the server serves. A pipe is not opened, since it may never open, and has been read already.
    Serving,
    /// Before that. A pipe is as good as a file, such as `/dev/stdin` or a shell's `<(command)`.
    Starting,
}

/// What the file system says of a file, which is different once its contents are. What is no regular file
/// is read once and has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Set by the system whatever a program sets the other to.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file that is not opened for it.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        path.metadata().map(|metadata| Self::from(&metadata))
    }

    /// Whether a later change cannot leave the same stamp.
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

/// Reads a file, with its stamp from before.
///
/// # Errors
///
/// It cannot be read, has no end, or is a pipe or the like and it is too late for that.
pub(crate) fn read(path: &Path, when: ReadPhase) -> io::Result<(Vec<u8>, Option<Stamp>)> {
    if when == ReadPhase::Serving && Stamp::of(path)?.is_none() {
        return Err(io::Error::other(
            "it is no regular file, and others are read only at the start",
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

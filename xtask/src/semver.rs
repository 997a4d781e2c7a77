//! What has changed in the surface of the crates that others build on. It stays out of `ci`, since
//! its tool takes minutes to install.

use std::fs;

use crate::tools::{CARGO_SEMVER_CHECKS, Failure, Tool, command, output, succeed, target};

/// Compares with a revision of git, or with the latest tag.
pub(crate) fn run(revision: Option<&str>) -> Result<(), Failure> {
    let Tool { name, install, .. } = CARGO_SEMVER_CHECKS;
    if !CARGO_SEMVER_CHECKS.is_there() {
        return Err(Failure::new(format!("semver needs {name}"), install));
    }
    let latest_tag = || {
        let mut describe = command(&["git", "describe", "--tags", "--abbrev=0"]);
        output(&mut describe, "name what to compare with: `cargo xtask semver REVISION`")
    };
    let baseline = match revision {
        Some(revision) => revision.to_owned(),
        None => latest_tag()?,
    };
    // The tool describes both sides in the same file of the target folder. If cargo has built them
    // before, it writes neither again, and one side is compared with itself, so nothing is kept
    // (obi1kenobi/cargo-semver-checks#309).
    let target = target().join("semver");
    if target.exists() {
        fs::remove_dir_all(&target).map_err(|error| {
            Failure::new(format!("{} cannot be removed: {error}", target.display()), "see why")
        })?;
    }
    let crates = ["cargo", "semver-checks", "--package", "ws-core", "--package", "transport"];
    let mut check = command(&[&crates[..], &["--baseline-rev", baseline.trim()]].concat());
    succeed(
        check.env("CARGO_TARGET_DIR", target),
        "take the breaking change back, or raise the version as the front page of the crate says",
    )
}

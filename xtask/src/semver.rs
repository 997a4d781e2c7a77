//! What has changed in the surface of the crates that others build on. It stays out of `ci`, since
//! its tool takes minutes to install.

use crate::tools::{CARGO_SEMVER_CHECKS, Failure, Tool, cargo, command, output};

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
    let crates = ["semver-checks", "--package", "ws-core", "--package", "transport"];
    cargo(
        &[&crates[..], &["--baseline-rev", baseline.trim()]].concat(),
        "take the breaking change back, or raise the version as the front page of ws-core says",
    )
}

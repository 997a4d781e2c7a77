//! Checks the public API of ws-core, handover, transport and broadcast for breaking changes. Not part of `ci`,
//! because its tool takes minutes to install.

use std::fs;

use crate::tools::{CARGO_SEMVER_CHECKS, Failure, Tool, command, output, succeed, target};

/// Compares with a git revision, or with the latest tag.
pub(crate) fn run(revision: Option<&str>) -> Result<(), Failure> {
    let Tool { name, install, .. } = CARGO_SEMVER_CHECKS;
    if !CARGO_SEMVER_CHECKS.is_installed() {
        return Err(Failure::new(format!("semver needs {name}"), install));
    }
    let latest_tag = || {
        let mut describe = command(&["git", "describe", "--tags", "--abbrev=0"]);
        output(&mut describe, "name a revision to compare with: `cargo xtask semver REVISION`")
    };
    let baseline = match revision {
        Some(revision) => revision.to_owned(),
        None => latest_tag()?,
    };
    // Start with an empty target folder: the tool writes the rustdoc JSON of both sides to the same
    // path, and with cached builds it compares one side with itself
    // (obi1kenobi/cargo-semver-checks#309).
    let target = target().join("semver");
    if target.exists() {
        fs::remove_dir_all(&target).map_err(|error| {
            Failure::new(format!("{} cannot be removed: {error}", target.display()), "remove it")
        })?;
    }
    let packages = ["ws-core", "handover", "transport", "broadcast"];
    let packages = packages.map(|name| ["--package", name]).concat();
    let baseline = ["--baseline-rev", baseline.trim()];
    let mut check = command(&[&["cargo", "semver-checks"], &packages[..], &baseline].concat());
    succeed(
        check.env("CARGO_TARGET_DIR", target),
        "revert the breaking change, or raise the version as the front page of the crate says",
    )
}

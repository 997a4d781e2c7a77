//! Sets `COMMIT`, the commit the binary is built from.

use std::env;
use std::process::Command;

fn main() {
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    // A build without a Git checkout can set the commit in the environment.
    let commit = env::var("WS_STATUS_COMMIT").ok().filter(|commit| !commit.is_empty()).or(commit);
    let commit = commit.unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo::rerun-if-env-changed=WS_STATUS_COMMIT");
    println!("cargo::rustc-env=COMMIT={commit}");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    println!("cargo::rerun-if-changed=../../.git/logs/HEAD");
}

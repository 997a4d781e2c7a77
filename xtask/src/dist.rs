//! What a packager needs, in `target/dist`: the release binaries, each with its checksum and its bill of
//! materials, and the files that are generated from the settings. Not part of `ci`, because its tool
//! takes minutes to install.

use std::fs;
use std::path::Path;

use crate::tools::{CARGO_CYCLONEDX, Failure, Tool, cargo, command, output, succeed, target};

/// Files of the repository that are copied.
const FILES: &[&str] = &[
    "deploy/ws-status.example.toml",
    "deploy/ws-status.schema.json",
    "deploy/man/server.1",
    "deploy/completions/server.bash",
    "deploy/completions/_server",
    "deploy/completions/server.fish",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

/// The programs, each in a crate of its name.
const PROGRAMS: &[&str] = &["server", "doctor"];

pub(crate) fn run() -> Result<(), Failure> {
    let Tool { name, install, .. } = CARGO_CYCLONEDX;
    if !CARGO_CYCLONEDX.is_installed() {
        return Err(Failure::new(format!("dist needs {name}"), install));
    }
    generate(&[])?;
    let build = ["build", "--package", "server", "--package", "doctor", "--release", "--locked"];
    cargo(&build, "see the message of cargo")?;
    let folder = target().join("dist");
    create(&folder)?;
    for program in PROGRAMS {
        copy(&target().join("release").join(program), &folder.join(program))?;
        let mut sum = command(&["sha256sum", program]);
        let sum = output(sum.current_dir(&folder), "install sha256sum (coreutils)")?;
        write(&folder.join(format!("{program}.sha256")), &sum)?;
    }

    let bill = ["cargo", "cyclonedx", "--manifest-path", "crates/server/Cargo.toml"];
    let mut bill = command(&[&bill[..], &["--format", "json", "--spec-version", "1.5"]].concat());
    succeed(&mut bill, "see the message of cargo-cyclonedx")?;
    // The tool writes one for each crate of the workspace, beside its manifest.
    for program in PROGRAMS {
        let name = format!("{program}.cdx.json");
        copy(&Path::new("crates").join(program).join(&name), &folder.join(&name))?;
    }
    for name in ["broadcast", "doctor", "handover", "server", "transport", "ws-core"] {
        let _ = fs::remove_file(format!("crates/{name}/{name}.cdx.json"));
    }
    let _ = fs::remove_file("xtask/xtask.cdx.json");
    for file in FILES {
        let name = Path::new(file).file_name().unwrap_or_default();
        copy(Path::new(file), &folder.join(name))?;
    }
    Ok(())
}

/// Checks that the generated files are current.
pub(crate) fn check_generated() -> Result<(), Failure> {
    generate(&["--check"])
}

fn generate(options: &[&str]) -> Result<(), Failure> {
    let run = ["run", "--quiet", "--locked", "--package", "server", "--example", "generate", "--"];
    let arguments = [&run[..], options, &["."]].concat();
    cargo(&arguments, "run `cargo run -p server --example generate -- .`")
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| failure(folder, &error))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map(drop).map_err(|error| failure(from, &error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| failure(path, &error))
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "see the message of the system")
}

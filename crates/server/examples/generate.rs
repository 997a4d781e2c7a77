//! The files that are made from the definitions of settings and of the command line:
//!
//! ```sh
//! cargo run -p server --example generate -- FOLDER
//! cargo run -p server --example generate -- --check FOLDER
//! ```
//!
//! It writes a JSON Schema for editors, an example of a settings file, shell completions, a man page and the
//! table of settings of the manual; with `--check` it compares them with those in the folder instead.
//! FOLDER is the root of the repository.
#![expect(clippy::print_stderr, reason = "a program for people at a terminal")]

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use clap_complete::{Shell, generate};
use clap_mangen::Man;
use server::{Setting, command_line, schema};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).peekable();
    let is_check = arguments.next_if(|argument| argument == "--check").is_some();
    let folder = arguments.next().map(PathBuf::from).ok_or("name a folder")?;
    let mut is_current = true;
    let manual = fs::read_to_string(folder.join(MANUAL))?;
    let mut files = files()?;
    files.push((MANUAL, with_table(&manual)?.into_bytes()));
    for (name, text) in files {
        let path = folder.join(name);
        if !is_check {
            fs::create_dir_all(path.parent().ok_or("it has a folder")?)?;
            fs::write(&path, text)?;
        } else if fs::read(&path).is_ok_and(|found| found == text) {
            continue;
        } else {
            is_current = false;
            eprintln!("{} is not current; run this program without --check", path.display());
        }
    }
    Ok(if is_current { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file: its path in the repository, and its contents.
type File = (&'static str, Vec<u8>);

/// The page with the table of settings.
const MANUAL: &str = "docs/operations.md";

/// Returns the manual with the table replaced by the present one.
fn with_table(manual: &str) -> Result<String, Box<dyn Error>> {
    const HEAD: &str = "| environment | default | meaning |\n|---|---|---|\n";
    let (before, rest) = manual.split_once(HEAD).ok_or("the manual has no table of settings")?;
    let (_, after) = rest.split_once("\n\n").ok_or("the table has no end")?;
    let rows = Setting::all().iter().map(|setting| {
        let Setting { default, meaning, .. } = setting;
        format!("| `{}` | `{default}` | {} |", setting.variable(), meaning.replace('"', "`"))
    });
    let rows: Vec<String> = rows.collect();
    Ok(format!("{before}{HEAD}{}\n\n{after}", rows.join("\n")))
}

/// Returns the other files by their paths in the repository.
fn files() -> Result<Vec<File>, Box<dyn Error>> {
    let schema = format!("{:#}\n", schema());
    let mut man = Vec::new();
    // Without the commit, which changes with each build.
    Man::new(command_line().version(env!("CARGO_PKG_VERSION"))).render(&mut man)?;
    let complete = |shell: Shell| {
        let mut script = Vec::new();
        generate(shell, &mut command_line(), "server", &mut script);
        script
    };
    Ok(vec![
        ("deploy/ws-status.schema.json", schema.into_bytes()),
        ("deploy/ws-status.example.toml", example().into_bytes()),
        ("deploy/man/server.1", man),
        ("deploy/completions/server.bash", complete(Shell::Bash)),
        ("deploy/completions/_server", complete(Shell::Zsh)),
        ("deploy/completions/server.fish", complete(Shell::Fish)),
    ])
}

/// Every setting with its meaning and its default, all of them commented out.
fn example() -> String {
    let mut text = String::from(
        "#:schema ./ws-status.schema.json\n\
         # Every setting with its default. Take the # away from a line to change it.\n",
    );
    let mut group = "";
    for setting in Setting::all() {
        if setting.group != group {
            group = &setting.group;
            let _ = write!(text, "\n# {group}\n# {}\n", "-".repeat(group.len()));
        }
        text.push('\n');
        let mut line = String::from("#");
        for word in setting.meaning.split(' ') {
            if line.len() + 1 + word.len() > 100 {
                let _ = writeln!(text, "{line}");
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(text, "{line}\n#{} = {}", setting.key, setting.default);
    }
    text
}

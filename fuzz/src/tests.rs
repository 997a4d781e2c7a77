//! Runs every seed and every kept input, without the fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process;

/// A target by its name.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("client", crate::client),
    ("configuration", crate::configuration),
    ("extensions", crate::extensions),
    ("frames", crate::frames),
    ("http2", crate::http2),
    ("lifecycle", crate::lifecycle),
    ("origins", crate::origins),
    ("session", crate::session),
    ("states", crate::states),
    ("trace", crate::trace),
    ("upgrade", crate::upgrade),
];

/// The files in a folder of this package.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Decodes an input, which has two hexadecimal digits for each byte.
fn input_of(line: &str) -> Vec<u8> {
    let pairs = line.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn no_seed_and_no_kept_input_fails() {
    // As under the fuzzer, a panic in a task ends the process, and is not only the end of the task.
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        print(panic);
        process::abort();
    }));
    for (name, run) in TARGETS {
        for seed in files(&format!("seeds/{name}")) {
            println!("{}", seed.display());
            run(&fs::read(&seed).unwrap());
        }
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kept/{name}.hex"));
        for line in fs::read_to_string(kept).unwrap().lines() {
            println!("{name}: {line}");
            run(&input_of(line));
        }
    }
}

#[test]
fn each_target_has_an_entry_point_options_and_seeds() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in ["fuzz_targets", "kept", "options", "seeds"] {
        let stems = files(folder).into_iter();
        let stems = stems.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
        assert_eq!(stems.collect::<BTreeSet<_>>(), names, "{folder}");
    }
    for dictionary in files("dictionaries") {
        assert!(names.contains(dictionary.file_stem().unwrap().to_str().unwrap()));
    }
}

#!/usr/bin/env bash
# Builds the fuzz targets into $OUT, with their seeds, dictionaries and options.
set -euo pipefail
cd "$SRC/ws-status"

cargo fuzz build --release --fuzz-dir fuzz --target-dir target/fuzz

for entry in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$entry" .rs)
    cp "target/fuzz/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    cp "fuzz/options/$target.options" "$OUT/"
    corpus=$(mktemp -d)
    cp "fuzz/seeds/$target"/* "$corpus/"
    # A kept input is a line of hexadecimal digits.
    python3 - "fuzz/kept/$target.hex" "$corpus" <<'PYTHON'
import pathlib, sys
lines = pathlib.Path(sys.argv[1]).read_text().splitlines()
for number, line in enumerate(lines):
    pathlib.Path(sys.argv[2], f"kept-{number:04}").write_bytes(bytes.fromhex(line))
PYTHON
    rm -f "$OUT/${target}_seed_corpus.zip"
    zip --quiet --junk-paths --recurse-paths "$OUT/${target}_seed_corpus.zip" "$corpus"
    rm -r "$corpus"
    if [ -f "fuzz/dictionaries/$target.dict" ]; then
        cp "fuzz/dictionaries/$target.dict" "$OUT/"
    fi
done

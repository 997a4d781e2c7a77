//! The negotiation of extensions against a second implementation that is naive: all combinations of
//! parameters, random headers and hostile ones.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/naive_extensions.rs"]
mod naive_extensions;

use allocation_counter::measure;
use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use naive_extensions::{Accepted, naive, parse};
use transport::{Compression, CompressionOptions, Permission};

const OPTIONS: CompressionOptions =
    CompressionOptions { mode: Some(Compression::Shared), webkit: Permission::Refuse };

fn headers<T: AsRef<[u8]>>(lines: &[T]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line.as_ref()).unwrap());
    }
    headers
}

fn negotiate<T: AsRef<[u8]>>(lines: &[T]) -> Option<Accepted> {
    let (compression, response) = OPTIONS.negotiate(&headers(lines))?;
    let response = response.to_str().unwrap();
    let is_fresh = response.contains("; server_no_context_takeover");
    assert_eq!(compression == Compression::Fresh, is_fresh);
    Some((is_fresh, response.contains("; server_max_window_bits=15")))
}

//= rfc7692#7-2 rfc7692#7-3 rfc7692#7.1.2.1-2 test
#[test]
fn every_combination_of_parameters_is_decided_as_the_rfc_says() {
    let names = [
        "client_max_window_bits",
        "server_no_context_takeover",
        "server_max_window_bits",
        "client_no_context_takeover",
    ];
    // `None` is absent.
    let values =
        [None, Some(""), Some("=15"), Some("=\"8\""), Some("=\"1\\5\""), Some("=07"), Some("=16")];
    let mut accepted = 0;
    for combination in 0..values.len().pow(4) {
        let value = |index: usize| {
            values[combination / values.len().pow(index.try_into().unwrap()) % values.len()]
        };
        for rotation in 0..names.len() {
            let mut offer = "permessage-deflate".to_owned();
            for index in (0..names.len()).map(|index| (index + rotation) % names.len()) {
                if let Some(value) = value(index) {
                    offer.push_str(&format!("; {}{value}", names[index]));
                }
            }
            let answer = negotiate(&[&offer]);
            // The offer behind it is taken if this one is declined.
            let next = format!("{offer},permessage-deflate;server_max_window_bits=15");
            assert_eq!(negotiate(&[next]), answer.or(Some((false, true))), "{offer}");
            assert_eq!(answer, naive(&[offer.clone().into_bytes()]), "{offer}");
            accepted += usize::from(answer.is_some());
        }
    }
    // Either flag is absent or has no value; 15 is there three times, plainly and quoted; the client's
    // bits are absent, empty or one of three.
    assert_eq!(accepted, 4 * (2 * 2 * 3 * 5));
}

/// A small generator of random numbers.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A header value, which half of the time has been valid before some of its bytes were changed.
    fn line(&mut self) -> Vec<u8> {
        const NAMES: &[&str] = &["permessage-deflate", " permessage-deflate\t", "other", ""];
        const PARAMETERS: &[&str] = &[
            ";server_no_context_takeover",
            "; client_no_context_takeover ",
            "; server_max_window_bits=15",
            "; server_max_window_bits = \"1\\5\"",
            "; server_max_window_bits=12",
            ";client_max_window_bits",
            ";client_max_window_bits=\"8\"",
            "; client_max_window_bits=016",
            "; x",
        ];
        let mut line = String::new();
        for _ in 0..=self.below(3) {
            line.push_str(self.pick(NAMES));
            let parameters = if line.ends_with([',', ' ']) { 0 } else { self.below(4) };
            for _ in 0..parameters {
                line.push_str(self.pick(PARAMETERS));
            }
            line.push(',');
        }
        let mut line = line.into_bytes();
        for _ in 0..self.pick(&[0, 0, 1, 3]) {
            let begin = self.below(line.len() + 1);
            let end = line.len().min(begin + self.below(2));
            // A separator, or any byte that a header value may have.
            let any = u8::try_from(0x20 + self.below(0xe0)).unwrap();
            let byte = self.pick(&[b',', b';', b'=', b'"', b'\\', b' ', b'\t', any, any]);
            let byte = if byte == 0x7f { b'5' } else { byte };
            line.splice(begin..end, [byte].into_iter().take(self.below(2)));
        }
        line
    }
}

#[test]
fn random_headers_are_decided_as_by_the_naive_implementation() {
    let (mut malformed, mut declined, mut accepted) = (0, 0, 0);
    for seed in 0..100_000 {
        let mut rng = Rng(seed);
        let lines: Vec<Vec<u8>> = (0..=rng.below(3)).map(|_| rng.line()).collect();
        let answer = negotiate(&lines);
        let text = || lines.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>();
        assert_eq!(answer, naive(&lines), "seed {seed}: {:?}", text());
        match (answer, parse(&lines)) {
            (Some(_), _) => accepted += 1,
            (None, Some(_)) => declined += 1,
            (None, None) => malformed += 1,
        }
    }
    // All three kinds are frequent enough to be tested.
    assert!(malformed.min(declined).min(accepted) > 10_000, "{malformed} {declined} {accepted}");
}

#[test]
fn a_hostile_header_takes_linear_time_and_no_memory() {
    // With quadratic time a pattern would take minutes.
    const BYTES: usize = 1 << 20;
    let table = [
        ("", ","),
        ("", " "),
        ("", "a"),
        ("", "a,"),
        ("", "permessage-deflate;a,"),
        ("permessage-deflate", ";client_max_window_bits"),
        ("permessage-deflate", ";a=b"),
        ("permessage-deflate", ";a=\"b\""),
        ("a;b=\"", "c"),
        ("a;b=\"", "\\c"),
        ("a;b=\"", "\\"),
        ("a", ";b=\"c\""),
        ("a", "; b = \"c"),
        ("permessage-deflate;client_max_window_bits=\"", "\\1"),
        ("permessage-deflate;server_max_window_bits=", "1"),
        ("permessage-deflate;", " "),
    ];
    for (begin, repeated) in table {
        let line = [begin, &repeated.repeat(BYTES / repeated.len())].concat();
        let headers = headers(&[&line, &format!("{line}\"")]);
        let memory = measure(|| assert_eq!(OPTIONS.negotiate(&headers), None));
        assert_eq!(memory.count_total, 0, "{begin}{repeated}");
    }
    let many = headers(&vec!["permessage-deflate;a"; 20_000]);
    assert_eq!(measure(|| assert_eq!(OPTIONS.negotiate(&many), None)).count_total, 0);
}

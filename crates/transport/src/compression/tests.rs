//! What is compressed and inflated. The inflater of a client, which keeps its window, is zlib's.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use std::fmt::Write;

use allocation_counter::measure;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

use super::deflate::compress;
use super::inflate::{InflateError, inflate};

/// The generator `SplitMix64`.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

/// A state in JSON, of which a change replaces a few entries of about 90 bytes.
pub(crate) struct Services(Vec<[usize; 4]>);

impl Services {
    pub(crate) fn new(rng: &mut Rng, count: usize) -> Self {
        Self((0..count).map(|_| Self::entry(rng)).collect())
    }

    pub(crate) fn change(&mut self, rng: &mut Rng, count: usize) {
        for _ in 0..count {
            let index = rng.below(self.0.len());
            self.0[index] = Self::entry(rng);
        }
    }

    pub(crate) fn json(&self) -> String {
        let mut json = String::from("{\"services\":[");
        for [id, region, latency, rate] in &self.0 {
            let region = ["eu-west", "us-east", "ap-south"][*region];
            write!(json, r#"{{"id":"{id:08x}","region":"{region}","state":"ok","#).unwrap();
            write!(json, r#""latency_us":{latency},"requests_per_s":{rate}}},"#).unwrap();
        }
        json
    }

    fn entry(rng: &mut Rng) -> [usize; 4] {
        [rng.below(1 << 32), rng.below(3), rng.below(50_000), rng.below(100_000)]
    }
}

/// The inflater of a client. It keeps its window, unless it is made anew.
pub(crate) struct ClientInflater(Inflate);

impl ClientInflater {
    pub(crate) fn new() -> Self {
        Self(Inflate::new(false, 15))
    }

    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let input = [payload, &[0, 0, 0xff, 0xff]].concat();
        let mut output = vec![0; 1 << 20];
        let (total_in, total_out) = (self.0.total_in(), self.0.total_out());
        self.0.decompress(&input, &mut output, InflateFlush::SyncFlush).unwrap();
        assert_eq!(self.0.total_in() - total_in, u64::try_from(input.len()).unwrap());
        output.truncate(usize::try_from(self.0.total_out() - total_out).unwrap());
        output
    }
}

fn samples(rng: &mut Rng) -> Vec<Vec<u8>> {
    let lengths = [0, 1, 2, 3, 100, 16 * 1024, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 100_000];
    let random = lengths.map(|length| rng.bytes(length));
    // The compressed ones are about as long as one and two chunks of output.
    let around_chunks = (16_360..16_392).chain(32_730..32_770).step_by(3).map(|it| rng.bytes(it));
    let mut samples: Vec<Vec<u8>> = around_chunks.collect();
    samples.extend(random);
    samples.extend(lengths.map(|length| vec![b'x'; length]));
    samples.extend([1, 10, 100, 1000].map(|it| Services::new(rng, it).json().into_bytes()));
    samples
}

//= rfc7692#7.2.1-1 test
#[test]
fn what_is_compressed_is_inflated_to_the_same_bytes() {
    for sample in samples(&mut Rng(1)) {
        let compressed = compress(&sample, None);
        assert_eq!(ClientInflater::new().inflate(&compressed), sample);
        assert_eq!(inflate(&compressed, sample.len()).as_ref(), Ok(&sample));
        if let Some(limit) = sample.len().checked_sub(1) {
            assert_eq!(inflate(&compressed, limit), Err(InflateError::TooBig));
        }
    }
}

//= rfc7692#7.2.1-2 test
#[test]
fn a_client_that_inflated_the_dictionary_last_inflates_the_message() {
    let mut rng = Rng(2);
    let samples = samples(&mut rng);
    for _ in 0..50 {
        let [before, dictionary, sample] = [(); 3].map(|()| &samples[rng.below(samples.len())]);
        let mut client = ClientInflater::new();
        client.inflate(&compress(before, None));
        assert_eq!(client.inflate(&compress(dictionary, Some(before))), *dictionary);
        assert_eq!(client.inflate(&compress(sample, Some(dictionary))), *sample);
    }
}

//= rfc7692#7.2.2-3 test
#[test]
fn a_message_that_refers_back_by_almost_the_whole_window_is_inflated() {
    // Random bytes have no other matches, and DEFLATE's longest distance leaves some of the window.
    let period = Rng(8).bytes(32_000);
    let message = period.repeat(3);
    let compressed = compress(&message, None);
    assert!(compressed.len() < 2 * period.len(), "{} bytes", compressed.len());
    assert_eq!(inflate(&compressed, message.len()), Ok(message));
}

//= rfc7692#7.2.2-1 rfc7692#7.2.2-4 test
#[test]
fn the_examples_of_rfc_7692_are_inflated() {
    // Section 7.2.3.1, and the same in two fragments.
    let mut accepted = vec![(&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], &b"Hello"[..])];
    // Section 7.2.3.3: a block without compression.
    accepted.push((b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"));
    // Section 7.2.3.4: a final block.
    accepted.push((b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"));
    // Section 7.2.3.5: two blocks.
    accepted.push((b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"));
    // Section 7.2.3.6: an empty message.
    accepted.push((b"\x00", b""));
    for (payload, message) in accepted {
        assert_eq!(inflate(payload, 5).unwrap(), message);
    }
    // Section 7.2.3.2: a message that needs the window after another.
    assert_eq!(inflate(b"\xf2\x00\x11\x00\x00", 5), Err(InflateError::Invalid));
    let mut client = ClientInflater::new();
    client.inflate(&compress(b"Hello", None));
    assert_eq!(client.inflate(b"\xf2\x00\x11\x00\x00"), b"Hello");
}

#[test]
fn an_empty_message_is_compressed_to_one_byte() {
    assert_eq!(compress(b"", None), [0]);
    assert_eq!(compress(b"", Some(b"dictionary")), [0]);
}

#[test]
fn an_empty_payload_is_an_empty_message() {
    assert_eq!(inflate(b"", 0), Ok(Vec::new()));
}

#[test]
fn truncated_data_is_invalid() {
    let mut rng = Rng(3);
    let services = Services::new(&mut rng, 20).json().into_bytes();
    // Not of random bytes: a block without compression could end with the four bytes that are appended.
    for sample in [b"Hello".to_vec(), vec![b'x'; 1000], services] {
        let compressed = compress(&sample, None);
        for length in 1..compressed.len() {
            let result = inflate(&compressed[..length], 2000);
            assert_eq!(result, Err(InflateError::Invalid), "{length} of {}", compressed.len());
        }
    }
}

#[test]
fn data_after_a_message_is_invalid() {
    let compressed = compress(b"Hello", None);
    for garbage in
        [&b"\xff"[..], b"\x07", b"not DEFLATE data", b"\x00\x00", b"\x00\x00\x00\x00\x00"]
    {
        let payload = [&compressed, garbage].concat();
        assert_eq!(inflate(&payload, 100), Err(InflateError::Invalid), "{garbage:x?}");
    }
}

#[test]
fn random_bytes_are_inflated_or_refused() {
    let mut rng = Rng(4);
    let sample = compress(Services::new(&mut rng, 50).json().as_bytes(), None);
    for _ in 0..2000 {
        let count = rng.below(100);
        _ = inflate(&rng.bytes(count), 10_000);
        let mut damaged = sample.clone();
        let index = rng.below(damaged.len());
        damaged[index] ^= 1 << rng.below(8);
        if let Ok(message) = inflate(&damaged, 10_000) {
            assert!(message.len() <= 10_000);
        }
    }
    // The buffers of the thread keep nothing of what was refused.
    assert_eq!(inflate(&compress(b"Hello", None), 5).unwrap(), b"Hello");
}

#[test]
fn a_bomb_is_inflated_to_the_limit_and_no_further() {
    const LIMIT: usize = 256 * 1024;
    let bomb = compress(&vec![0; 4 << 20], None);
    assert!(bomb.len() < 4200, "{} bytes", bomb.len());
    _ = inflate(&bomb, 0); // Allocates the buffers of the thread.
    let mut result = Ok(Vec::new());
    let info = measure(|| result = inflate(&bomb, LIMIT));
    assert_eq!(result, Err(InflateError::TooBig));
    let beyond = info.bytes_max - u64::try_from(LIMIT).unwrap();
    assert!(beyond <= 1024, "{beyond} bytes more than the limit");
    assert_eq!(info.bytes_current, 0);
}

#[test]
fn a_message_of_the_limit_is_in_memory_twice_for_a_moment() {
    const LIMIT: usize = 256 * 1024;
    let payload = compress(&vec![0; LIMIT], None);
    _ = inflate(&payload, 0); // Allocates the buffers of the thread.
    let mut result = Ok(Vec::new());
    let info = measure(|| result = inflate(&payload, LIMIT));
    assert_eq!(result.map(|message| message.len()), Ok(LIMIT));
    let beyond = info.bytes_max - 2 * u64::try_from(LIMIT).unwrap();
    assert!(beyond <= 1024, "{beyond} bytes more than twice the limit");
}

/// Compresses each part to one final block, with the parts before it as the dictionary.
fn final_blocks(parts: &[&[u8]]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let mut deflate = Deflate::new(6, false, 15);
        deflate.set_dictionary(&parts[..index].concat()).unwrap();
        let mut output = vec![0; part.len() + 100];
        deflate.compress(part, &mut output, DeflateFlush::Finish).unwrap();
        payload.extend_from_slice(&output[..usize::try_from(deflate.total_out()).unwrap()]);
    }
    payload
}

#[test]
fn final_blocks_do_not_end_a_message_before_its_last_byte() {
    let mut rng = Rng(5);
    let services = Services::new(&mut rng, 100).json();
    let parts: Vec<&[u8]> = services.as_bytes().chunks(1000).collect();
    let ends_with_final_block = final_blocks(&parts);
    let with_empty_block = [&ends_with_final_block[..], b"\0"].concat();
    let with_other_blocks =
        [&ends_with_final_block, &compress(b" and more", Some(services.as_bytes()))[..]].concat();
    assert_eq!(inflate(&ends_with_final_block, 10_000).unwrap(), services.as_bytes());
    assert_eq!(inflate(&with_empty_block, 10_000).unwrap(), services.as_bytes());
    let and_more = [services.as_bytes(), b" and more"].concat();
    assert_eq!(inflate(&with_other_blocks, 10_000).unwrap(), and_more);
    let with_garbage = [&ends_with_final_block[..], b"\x07garbage"].concat();
    assert_eq!(inflate(&with_garbage, 10_000), Err(InflateError::Invalid));
    assert_eq!(inflate(&with_empty_block, 5000), Err(InflateError::TooBig));
}

//= rfc7692#7.2.2-4 test
#[test]
fn a_message_of_very_many_final_blocks_is_invalid() {
    let count = |blocks: usize| [[0x03, 0].repeat(blocks), vec![0]].concat();
    assert_eq!(inflate(&count(64), 0), Ok(Vec::new()));
    assert_eq!(inflate(&count(65), 0), Err(InflateError::Invalid));
}

//! Use cases and rules. `import` takes images in, `bundle` makes them of bundles, `export` gives them out, `jobs` is
//! what of it runs while somebody asks; `content`, `sniff`, `disk`,
//! `qcow2`, `vmdk`, `vhd` and `vhdx` are pure functions of bytes: no IO, no clock, and no panic whatever the bytes are.

pub mod bundle;
pub mod content;
pub mod disk;
pub mod export;
pub mod import;
pub mod jobs;
pub mod qcow2;
pub mod s3;
pub mod sniff;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;

/// Why an image is not taken: one sentence for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// What an import decides from a file's bytes alone. For fuzzing: whatever they are, it must not panic.
pub(crate) fn fuzz(data: &[u8]) {
    let tail = &data[data.len().saturating_sub(sniff::TAIL_BYTES)..];
    let bytes = data.len() as u64;
    let _ = sniff::decide(sniff::Sample { head: data, tail, bytes }, sniff::Purpose::Any);
    let _ = sniff::decide(sniff::Sample { head: data, tail, bytes: u64::MAX }, sniff::Purpose::Ramdisk);
    let _ = content::content(sniff::Kind::Raw, data);
    let _ = qcow2::parse(data, bytes, u64::MAX);
    let _ = qcow2::parse(data, u64::MAX, 1 << 44);
    let _ = vmdk::parse(data, tail, u64::MAX);
    let _ = vhdx::metadata_at(data, bytes);
    let _ = vhdx::parse(data, u64::MAX);
    if let Ok(vhd::Header { table: Some(table), .. }) = vhd::parse(data, tail, bytes, u64::MAX) {
        let at = usize::try_from(table.at).unwrap_or(usize::MAX);
        assert!(table.at + table.bytes() <= bytes);
        let _ = table.check(data.get(at..).unwrap_or_default(), bytes);
    }
}

const SHOWN_MAX: usize = 80;

/// Text out of a hostile file, fit for a log line and an error message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    format!("\"{text}\"")
}

/// The `N` bytes at `at`; zeros where the file has ended.
pub(crate) fn bytes_at<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(rest) = data.get(at..) {
        let n = rest.len().min(N);
        out[..n].copy_from_slice(&rest[..n]);
    }
    out
}

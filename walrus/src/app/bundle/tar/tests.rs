//! The archive reader against GNU tar's own archives, and against what tar never writes.

use super::*;
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;

fn unpack(archive: &[u8]) -> Result<Vec<u8>, BundleError> {
    let mut tar = Tar::open(archive)?;
    let mut file = Vec::new();
    while let Some(piece) = tar.next()? {
        file.extend_from_slice(&piece);
    }
    assert_eq!(tar.bytes(), file.len() as u64);
    Ok(file)
}

fn refused(archive: &[u8], expected: &str) {
    let error = unpack(archive).unwrap_err().to_string();
    assert!(error.contains(expected), "{error} should say: {expected}");
}

/// An archive as GNU tar makes it.
fn archive(directory: &Path, name: &str, options: &[&str]) -> Vec<u8> {
    let output =
        Command::new("tar").arg("-c").args(options).arg("-C").arg(directory).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn write(directory: &Path, name: &str, bytes: &[u8]) {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    let status = Command::new("fallocate").arg("--dig-holes").arg(&path).status().unwrap();
    assert!(status.success());
}

fn header(fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    let base: &[(usize, &[u8])] = &[(0, b"file"), (124, b"00000001000\0"), (156, b"0")];
    for (at, bytes) in base.iter().chain(fields) {
        block[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    seal(&mut block);
    block
}

/// An extended header before a member of 512 bytes.
fn extended(kind: &[u8], text: &[u8]) -> Vec<u8> {
    let length = format!("{:011o}\0", text.len());
    let mut all = header(&[(124, length.as_bytes()), (156, kind)]);
    all.extend_from_slice(text);
    all.resize(all.len().next_multiple_of(BLOCK_BYTES), 0);
    all.extend(header(&[]));
    all.resize(all.len() + 3 * BLOCK_BYTES, 0);
    all
}

#[test]
fn every_format_of_gnu_tar_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file: Vec<u8> = (0..70_001u32).map(|n| (n / 7) as u8).collect();
    let long = "n".repeat(150);
    for name in ["image", &long] {
        write(directory.path(), name, &file);
        for format in ["gnu", "oldgnu", "posix", "ustar", "v7"] {
            if name.len() > 100 && matches!(format, "ustar" | "v7") {
                continue;
            }
            let archive = archive(directory.path(), name, &[&format!("--format={format}")]);
            assert!(unpack(&archive).unwrap() == file, "{format}");
        }
    }
}

#[test]
fn sparse_files_of_gnu_tar_are_read_with_any_number_of_holes() {
    let directory = tempfile::tempdir().unwrap();
    for runs in [0, 1, 3, 5, 40, 200] {
        let mut file = vec![0; (runs + 1) * 65_536 + 100];
        for run in 0..runs {
            file[run * 65_536..run * 65_536 + 5000].fill(run as u8 + 1);
        }
        write(directory.path(), "image", &file);
        let archive = archive(directory.path(), "image", &["-S", "--format=gnu"]);
        assert!(archive.len() < file.len().max(30_000), "tar found the holes");
        assert!(unpack(&archive).unwrap() == file, "{runs}");
    }
    refused(&archive(directory.path(), "image", &["-S", "--format=posix"]), "pax format");
}

#[test]
fn members_that_are_not_one_plain_file_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "image", b"content");
    std::os::unix::fs::symlink("image", directory.path().join("link")).unwrap();
    std::fs::create_dir(directory.path().join("folder")).unwrap();
    refused(&archive(directory.path(), "link", &[]), "a link");
    refused(&archive(directory.path(), "folder", &[]), "a directory");
    refused(&archive(directory.path(), ".", &[]), "a directory");
    refused(&archive(directory.path(), "image", &["--transform=s/^/..\\//", "-P"]), "not the plain name");
    let first = archive(directory.path(), "image", &[]);
    refused(&[&first[..1024], &first].concat(), "one file is expected");
}

#[test]
fn what_tar_never_writes_is_refused() {
    refused(&extended(b"L", &[b'x'; 300]), "not the plain name");
    refused(&extended(b"L", b"a/b\0"), "not the plain name");
    refused(&extended(b"K", b"target\0"), "a link");
    refused(&extended(b"x", b"12 path=../x\n"), "damaged pax header");
    refused(&extended(b"x", b"13 path=../x\n"), "not the plain name");
    refused(&extended(b"x", b"99 path=x\n"), "damaged pax header");
    refused(&extended(b"x", b"10 size=x\n"), "impossible length");
    refused(&extended(b"x", b"22 GNU.sparse.major=1\n"), "pax format");
    refused(&extended(b"x", &[b'1'; 70_000]), "extended header of 70000 bytes");
    assert_eq!(unpack(&extended(b"x", b"10 uid=42\n")).unwrap(), [0; 512]);
    assert_eq!(unpack(&extended(b"g", b"10 uid=42\n")).unwrap(), [0; 512]);
    refused(&extended(b"g", b"")[..512].repeat(20), "more than 8 extended headers");
    refused(&header(&[(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")]), "impossible length");
    refused(&header(&[(156, b"Z")]), "something unknown");
    refused(&header(&[(5, b"x")]), "hides something");
    let claims = header(&[(124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")]);
    refused(&claims, "ends early");
}

#[test]
fn a_map_that_contradicts_itself_is_refused() {
    let map = |extents: &[(u64, u64)], bytes: u64, stored: u64| {
        let fields: Vec<String> =
            extents.iter().map(|(at, bytes)| format!("{at:011o}\0{bytes:011o}\0")).collect();
        let (map, length) = (fields.concat(), format!("{bytes:011o}\0"));
        let stored_text = format!("{stored:011o}\0");
        let mut all = header(&[
            (156, b"S"),
            (124, stored_text.as_bytes()),
            (386, map.as_bytes()),
            (483, length.as_bytes()),
        ]);
        all.resize(all.len() + (stored as usize).next_multiple_of(512) + 1024, 0);
        all
    };
    assert_eq!(unpack(&map(&[(512, 512), (2048, 100)], 3000, 612)).unwrap(), [0; 3000]);
    assert_eq!(unpack(&map(&[(3000, 0)], 3000, 0)).unwrap(), [0; 3000]);
    let contradicts = "contradicts";
    refused(&map(&[(512, 512), (512, 512)], 3000, 1024), contradicts);
    refused(&map(&[(512, 512), (0, 512)], 3000, 1024), contradicts);
    refused(&map(&[(512, 100), (1024, 512)], 3000, 612), contradicts);
    refused(&map(&[(2560, 512)], 3000, 512), contradicts);
    refused(&map(&[(0, 512)], 3000, 1024), contradicts);
    let mut endless = header(&[(156, b"S"), (386, b"00000000000\x0000000000000\0"), (482, b"\x01")]);
    let mut block = b"00000000000\x0000000000000\0".repeat(21);
    block.push(1);
    block.resize(512, 0);
    endless.extend(block.repeat(20_000));
    refused(&endless, "more than 262144 pieces");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        fields in proptest::collection::vec((0usize..500, any::<[u8; 12]>()), 0..4),
        kind in proptest::sample::select(b"0SLxg15".to_vec()),
        rest in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut all = header(&[(156, &[kind])]);
        for (at, bytes) in fields {
            all[at..at + 12].copy_from_slice(&bytes);
        }
        all.extend(&rest);
        crate::fuzz_tar(&all);
    }
}

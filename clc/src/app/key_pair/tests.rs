//! Key pairs against OpenSSH's and OpenSSL's own view of them.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a program prints when it is fed `input`.
fn run(program: &str, arguments: &[&str], input: &str) -> Vec<u8> {
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}");
    done.stdout
}

fn private_key_file(pem: &str) -> tempfile::TempPath {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    file.into_temp_path()
}

/// The public line that ssh-keygen derives from a private key.
fn public_line(pem: &str) -> String {
    let path = private_key_file(pem);
    let line = run("ssh-keygen", &["-y", "-f", path.to_str().unwrap()], "");
    let line = String::from_utf8(line).unwrap();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_made_rsa_key_is_what_openssl_and_openssh_take_it_for() {
    let made = generate(KeyKind::Rsa).unwrap();
    assert!(made.private_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert_eq!(public_line(&made.private_pem), made.openssh);
    let der = run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"], &made.private_pem);
    assert_eq!(colons(&sha1::Sha1::digest(&der)), made.fingerprint);
}

#[test]
fn an_imported_rsa_key_has_the_md5_of_its_public_half_in_every_form() {
    let made = generate(KeyKind::Rsa).unwrap();
    let pem = String::from_utf8(run("openssl", &["rsa", "-pubout"], &made.private_pem)).unwrap();
    let der = run("openssl", &["rsa", "-pubout", "-outform", "DER"], &made.private_pem);
    let path = private_key_file(&made.private_pem);
    let rfc4716 = run("ssh-keygen", &["-e", "-m", "RFC4716", "-f", path.to_str().unwrap()], "");
    let commented = String::from_utf8(rfc4716.clone()).unwrap();
    let commented = commented.replacen('\n', "\nComment: \"one \\\n line: two\"\nX-note: n\n", 1);
    let bare = STANDARD.encode(&der);
    for form in [
        format!("{} me@here\n", made.openssh).as_bytes(),
        pem.as_bytes(),
        bare.as_bytes(),
        &rfc4716,
        commented.as_bytes(),
    ] {
        let brought = import(form).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(form)));
        assert_eq!(brought.kind, KeyKind::Rsa);
        assert_eq!(brought.fingerprint, {
            use md5::Digest as _;
            colons(&md5::Md5::digest(&der))
        });
        assert_eq!(brought.openssh, made.openssh);
    }
}

#[test]
fn an_ed25519_key_has_one_fingerprint_made_or_brought() {
    let made = generate(KeyKind::Ed25519).unwrap();
    assert!(made.private_pem.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert_eq!(public_line(&made.private_pem), made.openssh);
    let brought = import(format!("{} a comment", made.openssh).as_bytes()).unwrap();
    assert_eq!((brought.kind, &brought.fingerprint), (KeyKind::Ed25519, &made.fingerprint));
    let shown =
        String::from_utf8(run("ssh-keygen", &["-l", "-E", "sha256", "-f", "-"], &made.openssh)).unwrap();
    assert!(shown.contains(&format!("SHA256:{}", made.fingerprint.trim_end_matches('='))), "{shown}");
}

#[test]
fn what_is_not_a_usable_public_key_is_refused() {
    let made = generate(KeyKind::Ed25519).unwrap();
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
    let huge = format!("ssh-rsa {}", "A".repeat(20_000));
    for wrong in [
        "",
        "  ",
        "nonsense",
        "ssh-rsa",
        "ssh-rsa AAAA",
        "ssh-dss AAAAB3NzaC1kc3M=",
        ecdsa,
        &huge,
        &made.private_pem,
    ] {
        assert_eq!(import(wrong.as_bytes()).unwrap_err().code(), "InvalidKey.Format", "{wrong}");
    }
    assert_eq!(import(&[0xff, 0xfe]).unwrap_err().code(), "InvalidKey.Format");
    let two = format!("{}\n{}", made.openssh, made.openssh);
    assert_eq!(import(two.as_bytes()).unwrap_err().code(), "InvalidKey.Format");
}

#[test]
fn rsa_keys_of_other_sizes_are_refused() {
    for (bits, fine) in [(1024, true), (3072, false), (4096, true), (768, false)] {
        let pem = run("openssl", &["genrsa", &bits.to_string()], "");
        let pem = String::from_utf8(pem).unwrap();
        let public = String::from_utf8(run("openssl", &["rsa", "-pubout"], &pem)).unwrap();
        let outcome = import(public.as_bytes());
        assert_eq!(outcome.is_ok(), fine, "{bits} bits: {outcome:?}");
        if bits >= 1024 {
            // OpenSSH itself reads no smaller ones.
            let line = import(public_line(&pem).as_bytes());
            assert_eq!(line.ok(), outcome.ok(), "{bits} bits, as OpenSSH has them");
        }
    }
}

#[test]
fn names_may_be_odd_but_not_blank_endless_or_with_control_characters() {
    for name in ["a", "a\"b'c<d>&$(e)`f`;g|h\\i ü", &"n".repeat(255)] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    for name in ["", " a", "a ", "a\nb", "a\u{0}", &"n".repeat(256)] {
        assert_eq!(check_name(name).unwrap_err().code(), "InvalidParameterValue", "{name:?}");
    }
}

#[test]
fn an_account_waits_for_a_few_keys_at_once() {
    let waiting: Vec<Asked> = (0..ASKED_PER_ACCOUNT_MAX).map(|_| Asked::by("busy").unwrap()).collect();
    assert_eq!(Asked::by("busy").err().unwrap().code(), "RequestLimitExceeded");
    Asked::by("other").unwrap();
    drop(waiting);
    Asked::by("busy").unwrap();
}

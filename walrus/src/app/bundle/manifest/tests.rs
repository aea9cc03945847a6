//! A manifest's fields, quirks, and every way to be wrong, each told by its element.

use super::*;
use proptest::prelude::*;

const GOLDEN: &str = include_str!("../../../../tests/vectors/bundle/disk.img.manifest.xml");

fn parse(text: &str) -> Manifest {
    Manifest::parse(text.as_bytes()).unwrap()
}

fn changed(from: &str, to: &str) -> String {
    assert!(GOLDEN.contains(from), "{from}");
    GOLDEN.replacen(from, to, 1)
}

/// The golden manifest with one change is refused, at that element and with these words.
fn check(from: &str, to: &str, path: &str, problem: &str) {
    let error = Manifest::parse(changed(from, to).as_bytes()).unwrap_err();
    assert_eq!(error.path, path, "{error}");
    assert!(error.problem.contains(problem), "{error} should say: {problem}");
}

/// The text of an element in the golden manifest.
fn text(name: &str) -> &'static str {
    let at = GOLDEN.find(&format!("<{name}")).unwrap();
    let from = at + GOLDEN[at..].find('>').unwrap() + 1;
    &GOLDEN[from..from + GOLDEN[from..].find('<').unwrap()]
}

#[test]
fn every_field_of_the_golden_manifest_is_read() {
    let manifest = parse(GOLDEN);
    let words = ["euca2ools", "3.4.0", "0"].map(str::to_owned);
    let [name, version, release] = words;
    assert_eq!(manifest.bundler, Bundler { name, version, release });
    let mapping = |virtual_name: &str, device: &str| Mapping {
        virtual_name: virtual_name.to_owned(),
        device: device.to_owned(),
    };
    let machine = Machine {
        architecture: "x86_64".to_owned(),
        mappings: vec![mapping("ami", "sda1"), mapping("ephemeral0", "sdb"), mapping("root", "/dev/sda1")],
        product_codes: vec![],
        kernel_id: Some("eki-12345678".to_owned()),
        ramdisk_id: None,
    };
    assert_eq!(manifest.machine, machine);
    assert_eq!(manifest.boot(), Boot::Kernel { kernel: "eki-12345678", ramdisk: None });
    let image = &manifest.image;
    assert_eq!((image.name.as_str(), image.user.as_str()), ("disk.img", "123456789012"));
    assert_eq!((image.kind, image.bytes, image.bundled_bytes), (Kind::Machine, 197_385, 197_632));
    assert_eq!(hex::encode(image.digest), text("digest algorithm"));
    assert_eq!(hex::encode(&image.cloud_key.key), text("ec2_encrypted_key"));
    assert_eq!(hex::encode(&image.cloud_key.iv), text("ec2_encrypted_iv"));
    let user = image.user_key.as_ref().unwrap();
    assert_eq!(hex::encode(&user.key), text("user_encrypted_key"));
    assert_eq!(hex::encode(&user.iv), text("user_encrypted_iv"));
    let parts: Vec<&str> = image.parts.iter().map(|part| part.filename.as_str()).collect();
    assert_eq!(parts, [0, 1, 2, 3].map(|number| format!("disk.img.part.0{number}")));
    assert_eq!(hex::encode(image.parts[3].digest), "2afea5e053c80a70d5dcd915e5d4888f0e794447");
    assert_eq!(manifest.signature, Signature::Signed(hex::decode(text("signature")).unwrap()));
}

#[test]
fn what_is_signed_is_told_as_it_stands() {
    let spaced = GOLDEN.replace("<image>", "\n  <image>").replace("</image>", " <!-- x --> </image>\n");
    let manifest = parse(&spaced);
    let [machine, image] =
        manifest.signed_bytes(spaced.as_bytes()).map(|part| std::str::from_utf8(part).unwrap());
    assert!(
        machine.starts_with("<machine_configuration><arch") && machine.ends_with("</machine_configuration>")
    );
    assert!(image.starts_with("<image><name>") && image.ends_with("</parts> <!-- x --> </image>"));
}

#[test]
fn the_quirks_of_bundlers_are_taken() {
    let manifest = parse(&changed("<user_encrypted_iv>", "<a/><user_encrypted_iv>")); // of its own
    assert!(manifest.image.user_key.is_some());
    let bundled = GOLDEN
        .replace("block_device_mapping>", "block_device_mappings>")
        .replace("<kernel_id>", "<productcodes><product_code>A1</product_code></productcodes><kernel_id>");
    let manifest = parse(&bundled);
    assert_eq!((manifest.machine.mappings.len(), manifest.machine.product_codes.len()), (3, 1));
    let bundled =
        changed("<kernel_id>", "<product_codes><product_code>A1</product_code></product_codes><kernel_id>");
    assert_eq!(parse(&bundled).machine.product_codes, ["A1"]);

    let user = |key: &str, iv: &str| {
        GOLDEN.replace(text("user_encrypted_key"), key).replace(text("user_encrypted_iv"), iv)
    };
    assert_eq!(parse(&user("", "")).image.user_key, None);
    assert_eq!(parse(&changed(text("signature"), "UNSIGNED")).signature, Signature::Unsigned);
    let error = Manifest::parse(user("aa", "").as_bytes()).unwrap_err();
    assert_eq!(error.path, "manifest/image/user_encrypted_iv");
    let upper = text("signature").to_ascii_uppercase();
    assert_eq!(parse(&changed(text("signature"), &upper)).signature, parse(GOLDEN).signature);
    let pretty = changed("<size>197385</size>", "<size>\n 197385\n </size>");
    assert_eq!(parse(&pretty).image.bytes, 197_385);
    assert_eq!(parse(&changed("<kernel_id>eki-12345678</kernel_id>", "<kernel_id/>")).boot(), Boot::Itself);
}

#[test]
fn a_kernel_says_so_in_one_way_or_another() {
    const KERNEL: &str = "<kernel_id>eki-12345678</kernel_id>";
    let kind = |said: &str, ids: &str| {
        let text = GOLDEN.replace(KERNEL, ids).replace("<type>machine", &format!("<type>{said}"));
        Manifest::parse(text.as_bytes()).map(|manifest| (manifest.image.kind, manifest.machine.kernel_id))
    };
    let (kernel, ramdisk) = ("<kernel_id>true</kernel_id>", "<ramdisk_id>true</ramdisk_id>");
    for (said, ids, expected) in [
        ("kernel", kernel, Kind::Kernel),
        ("machine", kernel, Kind::Kernel),
        ("kernel", "", Kind::Kernel),
        ("ramdisk", ramdisk, Kind::Ramdisk),
        ("machine", ramdisk, Kind::Ramdisk),
        ("machine", "", Kind::Machine),
    ] {
        assert_eq!(kind(said, ids), Ok((expected, None)), "{said} {ids}");
    }
    let both = format!("{kernel}{ramdisk}");
    for (said, ids, problem) in [
        ("machine", both.as_str(), "is both"),
        ("ramdisk", kernel, "is ramdisk, and kernel_id is true"),
        ("kernel", ramdisk, "is kernel, and ramdisk_id is true"),
        ("kernel", KERNEL, "names a kernel or ramdisk to boot with"),
        ("machine", "<ramdisk_id>eri-1</ramdisk_id>", "a ramdisk without a kernel"),
    ] {
        let error = kind(said, ids).unwrap_err();
        assert_eq!(error.path, "manifest/image/type");
        assert!(error.problem.contains(problem), "{error} should say: {problem}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (element, path) in [
        ("version", "manifest/version"),
        ("machine_configuration", "manifest/machine_configuration"),
        ("architecture", "manifest/machine_configuration/architecture"),
        ("device", "manifest/machine_configuration/block_device_mapping/mapping[0]/device"),
        ("image", "manifest/image"),
        ("user", "manifest/image/user"),
        ("type", "manifest/image/type"),
        ("size", "manifest/image/size"),
        ("bundled_size", "manifest/image/bundled_size"),
        ("ec2_encrypted_key", "manifest/image/ec2_encrypted_key"),
        ("ec2_encrypted_iv", "manifest/image/ec2_encrypted_iv"),
        ("parts", "manifest/image/parts"),
        ("filename", "manifest/image/parts/part[0]/filename"),
        ("signature", "manifest/signature"),
    ] {
        let mut without = GOLDEN.to_owned();
        for (from, to) in [("<{}>", "<x>"), ("<{} ", "<x "), ("</{}>", "</x>")] {
            without = without.replace(&from.replace("{}", element), to);
        }
        let error = Manifest::parse(without.as_bytes()).unwrap_err();
        assert_eq!((error.path.as_str(), error.problem.as_str()), (path, "is missing"));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let (image, machine) = ("manifest/image", "manifest/machine_configuration");
    let at = |parent: &str, name: &str| format!("{parent}/{name}");
    check("2007-10-10", "2007-03-01", "manifest/version", "expecting 2007-10-10");
    check("x86_64", "x86 64", &at(machine, "architecture"), "such as x86_64");
    check(
        "<type>machine",
        "<type>disk",
        &at(image, "type"),
        "is \"disk\": expecting machine, kernel or ramdisk",
    );
    check("<size>197385", "<size>-1", &at(image, "size"), "expecting a number");
    check("<size>197385", "<size>+1", &at(image, "size"), "expecting a number");
    check("<size>197385", "<size>0", &at(image, "size"), "empty");
    check("<size>197385", "<size>18446744073709551616", &at(image, "size"), "expecting a number");
    check("<size>197385", "<size>197385</size><size>1", &at(image, "size"), "is there twice");
    check(
        "<bundled_size>197632",
        "<bundled_size>197633",
        &at(image, "bundled_size"),
        "whole number of cipher",
    );
    check("<bundled_size>197632", "<bundled_size>0", &at(image, "bundled_size"), "whole number of cipher");
    check("\"SHA1\">e945", "\"MD5\">e945", &at(image, "digest"), "\"MD5\": expecting SHA1");
    check(" algorithm=\"SHA1\">e945", ">e945", &at(image, "digest"), "no attribute algorithm");
    check("\"SHA1\">e945", "\"SHA1\">e94", &at(image, "digest"), "40 hex digits");
    check("AES-128-CBC\">44", "AES-256-CBC\">44", &at(image, "ec2_encrypted_key"), "expecting AES-128-CBC");
    check("AES-128-CBC\">44", "AES-128-CBC\">4", &at(image, "ec2_encrypted_key"), "hex digits");
    check(text("ec2_encrypted_key"), "", &at(image, "ec2_encrypted_key"), "is empty");
    check(text("ec2_encrypted_iv"), "", &at(image, "ec2_encrypted_iv"), "is empty");
    check(text("ec2_encrypted_iv"), &"a".repeat(5000), &at(image, "ec2_encrypted_iv"), "longer than 4096");
    check(text("signature"), "", "manifest/signature", "UNSIGNED");
    check(text("signature"), "signed", "manifest/signature", "hex digits, or UNSIGNED");
    check(">disk.img</name>", "></name>", &at(image, "name"), "expecting a text");
    check(">disk.img</name>", &format!(">{}</name>", "x".repeat(300)), &at(image, "name"), "longer than 255");
    check(" count=\"4\"", "", &at(image, "parts"), "no attribute count");
    check(" count=\"4\"", " count=\"99999999\"", &at(image, "parts"), "no attribute count");
    check(" index=\"2\"", " index=\"x\"", &at(image, "parts/part"), "no attribute index");
    check(
        "disk.img.part.02",
        "../disk.img.part.02",
        &at(image, "parts/part[2]/filename"),
        "beside the manifest",
    );
    check("disk.img.part.02", "..", &at(image, "parts/part[2]/filename"), "beside the manifest");
    check("disk.img.part.02", "a&#0;b", &at(image, "parts/part[2]/filename"), "");
    check("</parts>", "<b/></parts>", &at(image, "parts/b"), "where part is expected");
    check("SHA1\">9a09", "SHA1\">9a0", &at(image, "parts/part[1]/digest"), "SHA-1");
    let mappings = "<mapping><virtual>a</virtual><device>b</device></mapping>".repeat(70);
    check(
        "<mapping>",
        &format!("{mappings}<mapping>"),
        &at(machine, "block_device_mapping/mapping"),
        "one too many",
    );
}

#[test]
fn what_is_not_a_manifest_is_told_so() {
    let refused = |bytes: &[u8], expected: &str| {
        let error = Manifest::parse(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say: {expected}");
    };
    refused(b"", "is empty");
    refused(b"\xff\xfe<", "UTF-8");
    refused(b"no", "text where elements");
    refused(b"<html/>", "html stands where manifest is expected");
    refused(&vec![b' '; MANIFEST_BYTES_MAX + 1], "longer than");
    refused(format!("<!DOCTYPE m [<!ENTITY a 'b'>]>{}", &GOLDEN[38..]).as_bytes(), "document type");
    refused(
        GOLDEN.replace(">disk.img<", ">&a;<").as_bytes(),
        "manifest/image/name uses an unknown entity &a;",
    );
    refused(format!("{GOLDEN}<manifest/>").as_bytes(), "follows the manifest");
    refused(&GOLDEN.as_bytes()[..GOLDEN.len() - 20], "the manifest");
    for end in (0..GOLDEN.len() - 1).step_by(7) {
        assert!(Manifest::parse(&GOLDEN.as_bytes()[..end]).is_err(), "{end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        at in 0usize..4000,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
        skip in 0usize..60,
    ) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        bytes.splice(at..at + skip, noise.iter().copied());
        crate::fuzz_manifest(&bytes);
        crate::fuzz_manifest(&noise);
    }
}

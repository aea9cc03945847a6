//! What a doubtful user would send to the decoder.

use super::*;
use crate::aws::ec2::*;
use crate::aws::{Action, decode, fuzz_query, sts};
use proptest::prelude::*;

fn read<A: Action>(form: &str) -> Result<A, WireFault> {
    decode(Params::parse(form.as_bytes())?)
}

#[track_caller]
fn refused<A: Action + std::fmt::Debug>(form: &str, code: &str, words: &str) {
    let fault = read::<A>(form).expect_err(form);
    assert_eq!((fault.code, fault.message.as_str()), (code, words), "{form}");
}

#[test]
fn what_boto_2_sends_for_a_launch_is_understood() {
    let form = "AWSAccessKeyId=AKID&Action=RunInstances&ImageId=ami-1&InstanceInitiatedShutdownBehavior=terminate\
        &InstanceType=t1.micro&KeyName=k&MaxCount=2&MinCount=1&Monitoring.Enabled=true\
        &Placement.AvailabilityZone=one&SecurityGroup.1=default&SecurityGroupId.1=sg-1\
        &DisableApiTermination=false&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsda1\
        &BlockDeviceMapping.1.Ebs.VolumeSize=9&BlockDeviceMapping.1.Ebs.DeleteOnTermination=true\
        &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.PrivateIpAddresses.1.PrivateIpAddress=10.0.0.9\
        &SignatureMethod=HmacSHA256&SignatureVersion=2&Signature=a%2Bb%3D&Timestamp=2026-01-02T03%3A04%3A05Z\
        &Version=2014-10-01";
    let request: RunInstancesRequest = read(form).unwrap();
    assert_eq!((request.min_count, request.max_count), (1, 2));
    assert!(request.monitoring.unwrap().enabled);
    assert_eq!(request.placement.unwrap().availability_zone.as_deref(), Some("one"));
    let disk = &request.block_device_mappings[0];
    assert_eq!(disk.device_name.as_deref(), Some("/dev/sda1"));
    assert_eq!(disk.ebs.as_ref().unwrap().volume_size, Some(9));
    let addresses = &request.network_interfaces[0].private_ip_addresses;
    assert_eq!(addresses[0].private_ip_address.as_deref(), Some("10.0.0.9"));
}

#[test]
fn lists_from_zero_and_with_gaps_keep_the_order_of_their_indexes() {
    let request: CreateTagsRequest = read(
        "ResourceId.0=i-1&Tag.10.Key=d&Tag.0.Key=a&Tag.0.Value=x+y&Tag.2.Key=c&Tag.1.Key=b&Tag.1.Value=",
    )
    .unwrap();
    let tags: Vec<_> = request.tags.iter().map(|t| (t.key.as_deref().unwrap(), t.value.as_deref())).collect();
    assert_eq!(tags, [("a", Some("x y")), ("b", Some("")), ("c", None), ("d", None)]);
}

#[test]
fn every_signature_parameter_is_known_and_nothing_else_is() {
    let signed = "Action=DescribeRegions&Version=2016-11-15&X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Date=c\
        &X-Amz-SignedHeaders=host&X-Amz-Signature=d&X-Amz-Security-Token=e&SecurityToken=f&Expires=g";
    assert_eq!(read::<DescribeRegionsRequest>(signed), Ok(DescribeRegionsRequest::default()));
    for (form, named) in [
        ("Colour=red", "Colour"),
        ("action=x", "action"),
        ("RegionName.1.Extra=x", "RegionName.1.Extra"),
        ("RegionName.x=a", "RegionName.x"),
        ("RegionName.01=a", "RegionName.01"),
        ("RegionName.+1=a", "RegionName. 1"),
        ("RegionName=a", "RegionName"),
        ("DryRun.1=true", "DryRun.1"),
        ("DryRun=true&DryRun.1=true", "DryRun.1"),
        ("Filter.1.Name=a&Filter.1.Values.1=b", "Filter.1.Values.1"),
    ] {
        let words = format!("The parameter {named} is not recognized");
        refused::<DescribeRegionsRequest>(form, "UnknownParameter", &words);
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_parameter() {
    for (form, words) in [
        ("MinCount=a&MaxCount=1", "Value (a) for parameter MinCount is invalid. Expecting an integer."),
        (
            "MinCount=1&MaxCount=2147483648",
            "Value (2147483648) for parameter MaxCount is invalid. Expecting an integer.",
        ),
        (
            "MinCount=1&MaxCount=1&DryRun=yes",
            "Value (yes) for parameter DryRun is invalid. Expecting true or false.",
        ),
        (
            "MinCount=1&MaxCount=1&InstanceInitiatedShutdownBehavior=burn",
            "Value (burn) for parameter InstanceInitiatedShutdownBehavior is invalid. Valid values are: stop, terminate.",
        ),
    ] {
        refused::<RunInstancesRequest>(form, "InvalidParameterValue", words);
    }
    refused::<ImportKeyPairRequest>(
        "KeyName=k&PublicKeyMaterial=!",
        "InvalidParameterValue",
        "Value (!) for parameter PublicKeyMaterial is invalid. Expecting base64.",
    );
    refused::<DescribeInstanceTypesRequest>(
        "MaxResults=1",
        "InvalidParameterValue",
        "Value ( 1 ) for parameter maxResults is invalid. Expecting a value greater than 5.",
    );
    let long = format!("DryRun={}", "x".repeat(100_000));
    assert!(read::<DescribeRegionsRequest>(&long).unwrap_err().message.len() < 300);
}

#[test]
fn what_is_required_must_be_there_and_not_empty() {
    let words = |name: &str| format!("The request must contain the parameter {name}");
    refused::<RunInstancesRequest>("MinCount=1", "MissingParameter", &words("MaxCount"));
    refused::<CreateKeyPairRequest>("KeyName=", "MissingParameter", &words("KeyName"));
    refused::<TerminateInstancesRequest>("", "MissingParameter", &words("InstanceId"));
    refused::<RunInstancesRequest>(
        "MinCount=1&MaxCount=1&Monitoring.Enabled=",
        "MissingParameter",
        &words("Monitoring.Enabled"),
    );
}

#[test]
fn a_malformed_form_is_a_fault_and_never_a_guess() {
    for form in [
        "a=%",
        "a=%4",
        "a=%zz",
        "a=%ff",
        "%c3=b",
        "a..b=1",
        ".a=1",
        "a.=1",
        "=1",
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q=1",
    ] {
        assert_eq!(Params::parse(form.as_bytes()).expect_err(form).code, "MalformedQueryString", "{form}");
    }
    assert_eq!(Params::parse(b"A=1&A=1").unwrap_err().code, "InvalidQueryParameter");
    assert_eq!(Params::parse_all(&[b"A=1", b"A=2"]).unwrap_err().code, "InvalidQueryParameter");
    assert_eq!(Params::parse_all(&[b"A=1", b"B=2"]).unwrap().peek("B"), Some("2"));
    assert_eq!(Params::parse(b"&&A=1&").unwrap().peek("A"), Some("1"));
}

#[test]
fn limits_hold() {
    let many: String = (0..=PARAMETERS_MAX).map(|n| format!("A.{n}=&")).collect();
    assert_eq!(Params::parse(many.as_bytes()).unwrap_err().code, "MalformedQueryString");
    let big = vec![b'a'; FORM_BYTES_MAX + 1];
    assert_eq!(Params::parse(&big).unwrap_err().code, "MalformedQueryString");
    let far = format!("RegionName.{}=a", LIST_INDEX_MAX + 1);
    assert_eq!(read::<DescribeRegionsRequest>(&far).unwrap_err().code, "MalformedQueryString");
    let types: String = (1..=101).map(|n| format!("InstanceType.{n}=a&")).collect();
    assert_eq!(read::<DescribeInstanceTypesRequest>(&types).unwrap_err().code, "InvalidParameterValue");
}

#[test]
fn query_services_ignore_the_unknown_and_read_members() {
    assert!(read::<sts::GetCallerIdentityRequest>("Action=GetCallerIdentity&Version=2011-06-15&X=1").is_ok());
    let mut params = Params::parse(b"Arns.member.2=b&Arns.member.1=a&None=").unwrap();
    assert_eq!(params.member_list::<String>("Arns").unwrap(), ["a", "b"]);
    assert_eq!(params.member_list::<String>("None").unwrap(), Vec::<String>::new());
}

#[test]
fn times_are_read_with_and_without_zone() {
    for text in ["2026-01-02T03%3A04%3A05Z", "2026-01-02T03:04:05.000", "2026-01-02T04:04:05%2B01:00"] {
        let mut params = Params::parse(format!("T={text}").as_bytes()).unwrap();
        let at: time::OffsetDateTime = params.required("T").unwrap();
        assert_eq!(at.unix_timestamp(), 1_767_323_045, "{text}");
    }
    for text in ["", "now", "2026-13-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "1767323045"] {
        let mut params = Params::parse(format!("T={text}").as_bytes()).unwrap();
        assert!(params.required::<time::OffsetDateTime>("T").is_err(), "{text}");
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let request: RunInstancesRequest = read("MinCount=1&MaxCount=1&UserData=aHVudGVyMg==").unwrap();
    assert!(!format!("{request:?}").contains("aHVudGVyMg"));
    let key = KeyPair { key_material: Some("hunter2".into()), ..KeyPair::default() };
    assert!(!format!("{key:?}").contains("hunter2"));
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_query(&data);
    }

    #[test]
    fn arbitrary_forms_never_panic(data in "((MinCount|MaxCount|Tag|Filter|Name|Value|[0-9]{1,6}|\\.|=|&|%[0-9a-f]{2}|\\PC){0,9}&?){0,12}") {
        fuzz_query(data.as_bytes());
    }

    #[test]
    fn any_text_arrives_as_it_was_sent(key in "[^\0]{0,40}", value in "[^\0]{0,40}") {
        let form = format!("ResourceId.1=i&Tag.1.Key={}&Tag.1.Value={}", escaped(&key), escaped(&value));
        let request: CreateTagsRequest = read(&form).unwrap();
        prop_assert_eq!(request.tags[0].key.as_deref(), Some(key.as_str()));
        prop_assert_eq!(request.tags[0].value.as_deref(), Some(value.as_str()));
    }
}

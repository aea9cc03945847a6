//! What a notification configuration may say.

use super::*;
use karri_proto::aws::s3::{FilterRule, QueueConfiguration, S3KeyFilter};

fn one(arn: &str, events: &[&str], prefix: &str, suffix: &str) -> QueueConfiguration {
    let rule =
        |name: &str, value: &str| FilterRule { name: Some(name.to_owned()), value: Some(value.to_owned()) };
    let filter_rules = vec![rule("prefix", prefix), rule("suffix", suffix)];
    QueueConfiguration {
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        filter: Some(NotificationConfigurationFilter { key: Some(S3KeyFilter { filter_rules }) }),
        id: None,
        queue_arn: arn.to_owned(),
    }
}

fn code(queues: Vec<QueueConfiguration>) -> Option<S3Code> {
    let configuration =
        NotificationConfiguration { queue_configurations: queues, ..NotificationConfiguration::default() };
    let checked = checked(configuration, |hook| hook == "hook", || "id".to_owned());
    checked.err().map(|fault| fault.code())
}

const ARN: &str = "arn:aws:sqs:r-1:111111111111:hook";

#[test]
fn a_configuration_names_a_webhook_and_events_that_are_told() {
    let put = "s3:ObjectCreated:Put";
    assert_eq!(code(vec![one(ARN, &[put, "s3:ObjectRemoved:*"], "", "")]), None);
    assert_eq!(code(vec![one("arn:aws:sqs:r-1:1:other", &[put], "", "")]), Some(S3Code::InvalidArgument));
    assert_eq!(code(vec![one("hook", &[put], "", "")]), Some(S3Code::InvalidArgument));
    assert_eq!(code(vec![one(ARN, &["s3:Nonsense"], "", "")]), Some(S3Code::InvalidArgument));
    assert_eq!(code(vec![one(ARN, &["s3:ObjectTagging:*"], "", "")]), Some(S3Code::NotImplemented));
    assert_eq!(code(vec![one(ARN, &[], "", "")]), Some(S3Code::MalformedXml));
}

#[test]
fn two_configurations_must_not_mean_the_same_change() {
    let (put, all) = ("s3:ObjectCreated:Put", "s3:ObjectCreated:*");
    let pair = |a: (&str, &str, &str), b: (&str, &str, &str)| {
        code(vec![one(ARN, &[a.0], a.1, a.2), one(ARN, &[b.0], b.1, b.2)])
    };
    assert_eq!(pair((put, "a/", ""), (put, "b/", "")), None);
    assert_eq!(pair((put, "", ".jpg"), (all, "", ".png")), None);
    assert_eq!(pair((put, "", ""), ("s3:ObjectRemoved:*", "", "")), None);
    assert_eq!(pair((put, "a/", ""), (all, "a/b/", ".jpg")), Some(S3Code::InvalidArgument));
    assert_eq!(pair((put, "", ""), (put, "a", "")), Some(S3Code::InvalidArgument));
}

#[test]
fn an_arn_ends_in_the_webhooks_name() {
    assert_eq!(hook_of("arn:aws:sns:r-1:111111111111:hook"), Some("hook"));
    assert_eq!(hook_of("arn:aws:lambda:r-1:111111111111:function:hook"), Some("hook"));
    for wrong in ["hook", "arn:aws:s3:::hook", "arn:aws:sqs:r-1:hook", "arn:aws:sqs:r-1:1:"] {
        assert_eq!(hook_of(wrong), None, "{wrong}");
    }
}

//! The envelopes around answers and faults, one shape for EC2 and one for the Query services.

use super::{Action, Encode, Service, XmlWriter};

const PROLOGUE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Whose fault it is; the Query services say it in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    Sender,
    Receiver,
}

/// A whole answer. `version` is the one the client asked (`Service::asked_version`).
pub fn answer<A: Action>(output: &A::Output, version: &str, request_id: &str) -> String {
    answer_body::<A>(output, version, request_id)
}

/// As `answer`, around a body from elsewhere: one that was encoded before, or borrowed rows.
pub fn answer_body<A: Action>(body: &impl Encode, version: &str, request_id: &str) -> String {
    let mut xml = XmlWriter::new();
    let root = format!("{}Response", A::NAME);
    open_root(&mut xml, A::SERVICE, &root, version);
    match A::SERVICE {
        Service::Ec2 => {
            xml.element("requestId", request_id);
            body.encode(&mut xml);
        }
        Service::Sts => {
            if A::HAS_RESULT {
                xml.element(&format!("{}Result", A::NAME), body);
            }
            xml.open("ResponseMetadata");
            xml.element("RequestId", request_id);
            xml.close("ResponseMetadata");
        }
    }
    xml.close(&root);
    xml.finish()
}

/// A fault. The message must be the public one.
pub fn fault(service: Service, blame: Blame, code: &str, message: &str, request_id: &str) -> String {
    let mut xml = XmlWriter::new();
    match service {
        Service::Ec2 => {
            xml.raw(PROLOGUE);
            xml.raw("<Response><Errors><Error>");
            xml.element("Code", code);
            xml.element("Message", message);
            xml.raw("</Error></Errors>");
            xml.element("RequestID", request_id);
            xml.close("Response");
        }
        Service::Sts => {
            open_root(&mut xml, service, "ErrorResponse", service.newest_version());
            xml.open("Error");
            xml.element("Type", if blame == Blame::Sender { "Sender" } else { "Receiver" });
            xml.element("Code", code);
            xml.element("Message", message);
            xml.close("Error");
            xml.element("RequestId", request_id);
            xml.close("ErrorResponse");
        }
    }
    xml.finish()
}

fn open_root(xml: &mut XmlWriter, service: Service, root: &str, version: &str) {
    let authority = match service {
        Service::Ec2 => "http://ec2.amazonaws.com/doc/",
        Service::Sts => "https://sts.amazonaws.com/doc/",
    };
    xml.raw(PROLOGUE);
    xml.raw("<");
    xml.raw(root);
    xml.raw(" xmlns=\"");
    xml.raw(authority);
    xml.text(version);
    xml.raw("/\">");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{Done, Params, ec2, sts};

    #[test]
    fn an_ec2_answer_speaks_in_the_version_that_was_asked() {
        let asked = Params::parse(b"Version=2015-10-01").unwrap();
        let version = Service::Ec2.asked_version(&asked).unwrap();
        let xml = answer::<ec2::RebootInstancesRequest>(&Done, version, "r-1");
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<RebootInstancesResponse \
             xmlns=\"http://ec2.amazonaws.com/doc/2015-10-01/\"><requestId>r-1</requestId>\
             <return>true</return></RebootInstancesResponse>"
        );
    }

    #[test]
    fn versions_that_never_were_are_refused() {
        for (form, code) in [
            ("Version=2016-11-16", "NoSuchVersion"),
            ("Version=%22", "NoSuchVersion"),
            ("", "MissingParameter"),
        ] {
            let params = Params::parse(form.as_bytes()).unwrap();
            assert_eq!(Service::Ec2.asked_version(&params).unwrap_err().code, code);
        }
    }

    #[test]
    fn an_sts_answer_has_a_result_and_metadata() {
        let identity = sts::GetCallerIdentityResponse { account: Some("1".into()), ..Default::default() };
        let xml = answer::<sts::GetCallerIdentityRequest>(&identity, "2011-06-15", "r-1");
        assert!(xml.ends_with(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        ));
    }

    #[test]
    fn faults_cannot_break_out_of_their_envelope() {
        let xml = fault(Service::Ec2, Blame::Sender, "Code", "</Message>&\u{1}", "r");
        assert!(xml.contains(
            "<Message>&lt;/Message&gt;&amp;\u{FFFD}</Message></Error></Errors><RequestID>r</RequestID>"
        ));
        let xml = fault(Service::Sts, Blame::Receiver, "Code", "m", "r");
        assert!(xml.contains("<Error><Type>Receiver</Type><Code>Code</Code><Message>m</Message></Error><RequestId>r</RequestId>"));
    }
}

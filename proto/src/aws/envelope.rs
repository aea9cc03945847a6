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

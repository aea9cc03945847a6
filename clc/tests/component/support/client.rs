//! A client that signs with the `aws-sigv4` crate and sends with reqwest.

use super::{Answer, REGION, until};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use karri_proto::internal::admin::AccessKey;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::sign::encode_component;
use std::time::SystemTime;

#[derive(Clone)]
pub struct Client {
    pub url: String,
    pub id: String,
    pub secret: String,
    /// Of temporary credentials.
    pub token: Option<String>,
    pub account: String,
    pub region: String,
    pub at: Option<SystemTime>,
    pub http: reqwest::Client,
}

pub fn form(parameters: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| {
        format!("{}={}", encode_component(name.as_bytes()), encode_component(value.as_bytes()))
    };
    parameters.iter().map(pair).collect::<Vec<_>>().join("&")
}

impl Client {
    pub fn new(endpoint: &Endpoint, key: &AccessKey) -> Self {
        // Plain HTTP needs none, but reqwest wants one; the first to install it wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            url: endpoint.public_url.clone().unwrap(),
            id: key.access_key_id.clone(),
            secret: key.secret_access_key.clone().unwrap(),
            token: None,
            account: key.account.clone(),
            region: REGION.into(),
            at: None,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// One call of EC2's current version.
    pub async fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> Answer {
        self.call("ec2", "2016-11-15", action, parameters).await
    }

    pub async fn call(&self, service: &str, version: &str, action: &str, more: &[(&str, &str)]) -> Answer {
        let mut parameters = vec![("Action", action), ("Version", version)];
        parameters.extend_from_slice(more);
        self.post(service, "/", &form(&parameters)).await
    }

    /// One call of STS.
    pub async fn sts(&self, action: &str, parameters: &[(&str, &str)]) -> Answer {
        self.call("sts", "2011-06-15", action, parameters).await
    }

    /// A client with the temporary credentials of an answer.
    pub fn with(&self, credentials: &Answer) -> Self {
        Self {
            id: credentials.one("AccessKeyId"),
            secret: credentials.one("SecretAccessKey"),
            token: Some(credentials.one("SessionToken")),
            ..self.clone()
        }
    }

    /// The same, when it may come to nothing.
    pub async fn try_ec2(&self, action: &str, more: &[(&str, &str)]) -> reqwest::Result<Answer> {
        let mut parameters = vec![("Action", action), ("Version", "2016-11-15")];
        parameters.extend_from_slice(more);
        self.try_post("ec2", "/", &form(&parameters)).await
    }

    /// Signs and sends a form as it is.
    pub async fn post(&self, service: &str, path: &str, body: &str) -> Answer {
        self.try_post(service, path, body).await.unwrap()
    }

    async fn try_post(&self, service: &str, path: &str, body: &str) -> reqwest::Result<Answer> {
        let uri = format!("{}{path}", self.url);
        let kind = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let headers = self.signature(service, "POST", &uri, &[kind], body.as_bytes());
        let mut request = self.http.post(&uri).header(kind.0, kind.1).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.try_send(request).await
    }

    /// Signs and sends a query.
    pub async fn get(&self, service: &str, path: &str, parameters: &[(&str, &str)]) -> Answer {
        let uri = format!("{}{path}?{}", self.url, form(parameters));
        let headers = self.signature(service, "GET", &uri, &[], b"");
        let mut request = self.http.get(&uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request).await
    }

    /// Sends without any signature.
    pub async fn unsigned(&self, body: &str) -> Answer {
        self.send(self.http.post(&self.url).body(body.to_owned())).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let request_id = header("x-amzn-requestid").unwrap_or_default();
        Ok(Answer { status: response.status().as_u16(), request_id, text: response.text().await? })
    }

    fn signature(
        &self,
        service: &str,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<(String, String)> {
        let identity = Credentials::new(&self.id, &self.secret, self.token.clone(), None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(self.at.unwrap_or_else(SystemTime::now))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = headers.iter().copied();
        let signable = SignableRequest::new(method, uri, headers, SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// RunInstances of the usual image and type.
    pub async fn run(&self, count: usize, more: &[(&str, &str)]) -> Answer {
        let count = count.to_string();
        let mut parameters = vec![("ImageId", super::IMAGE), ("MinCount", &count), ("MaxCount", &count)];
        if !more.iter().any(|(name, _)| *name == "InstanceType") {
            parameters.push(("InstanceType", "t3.micro"));
        }
        parameters.extend_from_slice(more);
        self.ec2("RunInstances", &parameters).await
    }

    pub async fn state(&self, id: &str) -> String {
        let answer = self.ec2("DescribeInstances", &[("InstanceId.1", id)]).await.ok();
        answer.states().first().cloned().unwrap_or_default()
    }

    pub async fn wait_for(&self, id: &str, state: &str) {
        until(&format!("{id} {state}"), || async { (self.state(id).await == state).then_some(()) }).await;
    }
}

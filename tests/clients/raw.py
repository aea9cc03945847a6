"""Signed requests made by hand, for what no modern client would send."""

import base64
import datetime
import hashlib
import hmac
import re
import urllib.error
import urllib.parse
import urllib.request
import xml.dom.minidom


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        found = re.search(r"<Code>([^<]*)</Code>", self.body)
        return found.group(1) if found else None

    @property
    def message(self):
        found = re.search(r"<Message>(.*?)</Message>", self.body, re.S)
        return found.group(1) if found else None

    def well_formed(self):
        xml.dom.minidom.parseString(self.body)
        return self


def send(url, body=None, headers=None, method=None):
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answer(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read().decode("utf-8", "replace"))


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signed_v4(cloud, parameters, *, at=None, key=None, secret=None, service="ec2", region=None, extra_signed=None, body=None,
              tamper=lambda headers, body: (headers, body)):
    """A SigV4 POST form. `tamper` changes what is sent after it was signed."""
    at = at or datetime.datetime.now(datetime.timezone.utc)
    key = key or cloud.env["AWS_ACCESS_KEY_ID"]
    secret = secret or cloud.env["AWS_SECRET_ACCESS_KEY"]
    region = region or cloud.env["AWS_DEFAULT_REGION"]
    body = body if body is not None else urllib.parse.urlencode(parameters).encode()
    stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    headers = {
        "Host": urllib.parse.urlsplit(cloud.endpoint).netloc,
        "X-Amz-Date": stamp,
        "Content-Type": "application/x-www-form-urlencoded",
        **(extra_signed or {}),
    }
    names = sorted(name.lower() for name in headers)
    canonical_headers = "".join(f"{n}:{' '.join(v.split())}\n" for n, v in sorted((k.lower(), v) for k, v in headers.items()))
    canonical = "\n".join(["POST", "/", "", canonical_headers, ";".join(names), hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signing = _hmac(_hmac(_hmac(_hmac(b"AWS4" + secret.encode(), day), region), service), "aws4_request")
    signature = hmac.new(signing, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={';'.join(names)}, "
                                f"Signature={signature}")
    headers, body = tamper(headers, body)
    return send(cloud.endpoint + "/", body, headers)


def signed_v2(cloud, parameters, *, method="GET", at=None, digest="sha256", path="/", secret=None, tamper=lambda q: q):
    at = at or datetime.datetime.now(datetime.timezone.utc)
    parameters = {
        **parameters,
        "AWSAccessKeyId": cloud.env["AWS_ACCESS_KEY_ID"],
        "SignatureMethod": f"Hmac{digest.upper()}",
        "SignatureVersion": "2",
        "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    def quote(text):
        return urllib.parse.quote(text, safe="-_~.")
    query = "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(parameters.items()))
    host = urllib.parse.urlsplit(cloud.endpoint).netloc.lower()
    to_sign = "\n".join([method, host, path, query])
    key = (secret or cloud.env["AWS_SECRET_ACCESS_KEY"]).encode()
    signature = base64.b64encode(hmac.new(key, to_sign.encode(), digest).digest()).decode()
    query = tamper(query) + "&Signature=" + quote(signature)
    if method == "GET":
        return send(f"{cloud.endpoint}{path}?{query}")
    return send(cloud.endpoint + path, query.encode(), {"Content-Type": "application/x-www-form-urlencoded"})

"""The judge of a restXml service: whole requests to our router and decoder, whole answers to botocore."""

import base64

import botocore.awsrequest
import botocore.handlers

import judging

HEADER_LETTERS = "aZ09-_.~*/:;@ &=+%#?<>\"'\\\t\u00e9\u4e2d,[]{}"
BUCKET_LETTERS = "az09-."
# A parser must turn a bare carriage return into a line feed, and botocore writes it bare.
BODY_LETTERS = judging.LETTERS.replace("\r", "")


class RestInputs(judging.Inputs):
    """Random valid inputs, each spelled as the place allows where it travels."""

    place = None
    depth_max = 10

    def make_structure(self, shape, required):
        value = {}
        for name, member in shape.members.items():
            must = name in shape.required_members
            if must or self.wanted():
                value[name] = self.make_member(member, must)
        return value

    def make_member(self, member, must):
        outside, self.place = self.place, member.serialization.get("location") or "body"
        try:
            return self.make(member, must)
        finally:
            self.place = outside

    def make_string(self, shape, required):
        if shape.enum:
            return self.random.choice(shape.enum)
        if self.place == "uri":
            letters = BUCKET_LETTERS if shape.name == "BucketName" else judging.LETTERS
            return "b" + self.letters(letters)
        if self.place in ("header", "headers"):
            return "h" + self.letters(HEADER_LETTERS) + "h"
        text = self.letters(judging.LETTERS if self.place == "querystring" else BODY_LETTERS)
        return text or ("x" if required else "")

    def letters(self, letters):
        return "".join(self.random.choice(letters) for _ in range(self.random.randint(0, 12)))

    def make_map(self, shape, required):
        return {f"Name-{at}": self.make(shape.value) for at in range(self.random.randint(0, 3))}

    def make_timestamp(self, shape, required):
        at = super().make_timestamp(shape, required)
        whole = self.place == "header" or shape.serialization.get("timestampFormat") == "rfc822"
        return at.replace(microsecond=0) if whole else at


class RestJudge(judging.Judge):
    def ask_once(self, operation, case, seen):
        shape = operation.input_shape
        params = RestInputs(f"{judging.SEED} {operation.name} {case}", case == 0).make(shape)
        problems = self.validator.validate(params, shape)
        assert not problems.has_errors(), problems.generate_report()
        request = self.serializer.serialize_to_request(params, operation)
        botocore.awsrequest.prepare_request_dict(request, "http://localhost")
        body = request["body"] or b""
        reply = judging.ask(
            do="ask",
            service=self.service,
            method=request["method"],
            target=request["url"].removeprefix("http://localhost"),
            headers={name: str(value) for name, value in request["headers"].items()},
            body=base64.b64encode(body if isinstance(body, bytes) else body.encode()).decode(),
        )
        self.cases += 1
        if reply.get("operation") != operation.name:
            return judging.wrong(operation.name, "request", case, params, request, reply)
        self.drop_stream(shape, params, seen)
        sent = judging.plain(shape, params, seen)
        for path, left, right in judging.differences(shape, sent, reply["value"], [], True):
            judging.wrong(operation.name, "request", case, path, "sent", repr(left), "seen", repr(right))

    def answer_once(self, operation, case, seen):
        reply = judging.ask(
            do="answer", service=self.service, action=operation.name, seed=case and judging.SEED + case
        )
        headers = botocore.awsrequest.HeadersDict(reply["headers"])
        response = {"status_code": reply["status"], "headers": headers, "body": reply["body"].encode()}
        shape = operation.output_shape
        parsed = self.parser.parse(response, shape)
        self.cases += 1
        if reply["status"] not in (200, 204, 206):
            judging.wrong(operation.name, "answer", case, "status", reply["status"])
        if shape is None:
            if reply["body"]:
                judging.wrong(operation.name, "answer", case, "has a body", reply["body"])
            return
        parsed.pop("ResponseMetadata")
        if operation.name == "GetBucketLocation":
            parsed["LocationConstraint"] = location_in(reply["body"])
            reply["value"].setdefault("LocationConstraint", "")
        self.drop_stream(shape, parsed, seen)
        heard = judging.plain(shape, parsed, seen)
        for path, left, right in judging.differences(shape, heard, reply["value"], [], True):
            judging.wrong(operation.name, "answer", case, path, "parsed", repr(left), "written", repr(right))

    def drop_stream(self, shape, value, seen):
        """What travels beside the structure is no member of ours."""
        payload = shape.serialization.get("payload")
        if payload and shape.members[payload].type_name == "blob":
            value.pop(payload, None)
            seen.add((shape.name, payload))

    def fault_once(self):
        document = judging.ask(do="fault", service=self.service, code="NoSuchKey", key='<k> & "\u4e2d"')
        response = {"status_code": 404, "headers": {}, "body": document.encode()}
        parsed = self.parser.parse(response, None)
        error = parsed["Error"]
        heard = (error["Code"], error["Message"], error["Key"])
        said = ("NoSuchKey", "The specified key does not exist.", '<k> & "\u4e2d"')
        if heard != said:
            judging.wrong(self.service, "fault", parsed)


def location_in(body):
    """botocore reads this one answer by hand, since its root element is its only value."""

    class Response:
        raw = True
        content = body.encode()

    parsed = {}
    botocore.handlers.parse_get_bucket_location(parsed, Response)
    return parsed["LocationConstraint"] or ""

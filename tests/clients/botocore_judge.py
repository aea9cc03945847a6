"""botocore as the judge of Karri's AWS wire types.

Asks on standard output, hears on standard input (JSON lines; `karri_proto::aws::judge::serve`), and
reports on standard error. For each modelled action botocore serialises random valid inputs, and what
our decoder saw must equal them; our encoder writes random answers, and what botocore parses must equal
them. Every member of every shape must have been seen at least once. Exit status 0 means agreement.

KARRI_JUDGE_CASES is the number of cases per action and direction, KARRI_JUDGE_SEED the first seed.
"""

import pathlib
import re
import sys

import botocore
import botocore.awsrequest

import judging
import rest_judge


class QueryJudge(judging.Judge):
    def form(self, operation, params):
        request = self.serializer.serialize_to_request(params, operation)
        request = botocore.awsrequest.AWSRequest(method="POST", url="http://localhost/", data=request["body"])
        body = request.prepare().body
        return body.decode() if isinstance(body, bytes) else body

    def ask_once(self, operation, case, seen):
        shape = operation.input_shape
        params = judging.without_hollow(judging.Inputs(f"{judging.SEED} {operation.name} {case}", case == 0).make(shape))
        problems = self.validator.validate(params, shape)
        assert not problems.has_errors(), problems.generate_report()
        reply = judging.ask(do="ask", service=self.service, form=self.form(operation, params))
        self.cases += 1
        if "value" not in reply:
            return judging.wrong(operation.name, "request", case, params, reply)
        for path, left, right in judging.differences(shape, judging.plain(shape, params, seen), reply["value"], [], True):
            judging.wrong(operation.name, "request", case, path, "sent", repr(left), "seen", repr(right))

    def answer_once(self, operation, case, seen):
        reply = judging.ask(do="answer", service=self.service, action=operation.name, seed=case and judging.SEED + case)
        response = {"status_code": 200, "headers": {}, "body": reply["xml"].encode()}
        parsed = self.parser.parse(response, operation.output_shape)
        self.cases += 1
        if parsed.pop("ResponseMetadata", {}).get("RequestId") != "the-request-id":
            judging.wrong(operation.name, "answer", case, "request id")
        shape = operation.output_shape
        if shape is None:
            return
        for path, left, right in judging.differences(shape, judging.plain(shape, parsed, seen), reply["value"], [], False):
            judging.wrong(operation.name, "answer", case, path, "parsed", repr(left), "written", repr(right))

    def fault_once(self):
        code, message = "InvalidInstanceID.NotFound", "The instance ID '<i-1> & \"co\"' does not exist"
        xml = judging.ask(do="fault", service=self.service, code=code, message=message)
        response = {"status_code": 400, "headers": {}, "body": xml.encode()}
        parsed = self.parser.parse(response, None)
        heard = (parsed["Error"]["Code"], parsed["Error"]["Message"], parsed["ResponseMetadata"]["RequestId"])
        if heard != (code, message, "the-request-id"):
            judging.wrong(self.service, "fault", parsed)


JUDGES = {"ec2": QueryJudge, "s3": rest_judge.RestJudge, "sts": QueryJudge}


def same_botocore(service):
    """A newer botocore knows members that our model does not; that is no disagreement."""
    model = pathlib.Path(__file__).parents[2] / "proto" / "model" / f"{service}.txt"
    wanted = re.search(r"^service .*botocore=(\S+)", model.read_text(), re.MULTILINE).group(1)
    if botocore.__version__ != wanted:
        sys.exit(f"{model.name} was made from botocore {wanted}, but this is {botocore.__version__}")


def main():
    for service in JUDGES:
        same_botocore(service)
        JUDGES[service](service).run()
    if judging.WRONG:
        sys.exit(f"{len(judging.WRONG)} disagreements")


main()

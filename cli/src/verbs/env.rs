//! `karri env`: shell commands that point AWS clients at the cloud.

use crate::cloud::Cloud;
use crate::output::Format;
use std::collections::BTreeMap;

/// Debian 12's aws-cli, like all before 2.13 and 1.29, does not read AWS_ENDPOINT_URL. The first word that names
/// a service says which one is meant.
///
/// aws-cli 2 shows every answer in a pager unless told otherwise: it would swallow the commands that were pasted
/// together with the one it belongs to, and where there is no `less` the command fails.
const AWS_FUNCTION: &str = r#"aws() {
  karri_url=$AWS_ENDPOINT_URL
  for karri_word in "$@"; do
    case $karri_word in
      s3|s3api) karri_url=${AWS_ENDPOINT_URL_S3:-$AWS_ENDPOINT_URL}; break ;;
      ec2|sts) break ;;
    esac
  done
  AWS_PAGER=${AWS_PAGER-} command aws --endpoint-url "$karri_url" "$@"
}
"#;

pub fn run(cloud: &Cloud, output: Format) -> anyhow::Result<()> {
    let credentials = cloud.credentials()?;
    let variables: BTreeMap<_, _> = credentials.variables().into_iter().collect();
    output.print(&variables, |_| credentials.as_shell() + AWS_FUNCTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_called_at_its_endpoint() {
        for (words, url) in [
            ("ec2 describe-instances", "http://ec2"),
            ("--output text ec2 run-instances --key-name s3", "http://ec2"),
            ("s3 ls", "http://s3"),
            ("--debug s3api list-buckets", "http://s3"),
            ("sts get-caller-identity", "http://ec2"),
        ] {
            let script = format!(
                "AWS_ENDPOINT_URL=http://ec2 AWS_ENDPOINT_URL_S3=http://s3\n{}\naws {words}\n",
                AWS_FUNCTION.replace("command aws", "echo")
            );
            assert_eq!(said_by(&script), format!("--endpoint-url {url} {words}\n"));
        }
    }

    #[test]
    fn no_pager_is_used_unless_the_user_has_one() {
        let show = AWS_FUNCTION.replace("command aws", "sh -c 'echo ${AWS_PAGER-unset}' sh");
        assert_eq!(said_by(&format!("unset AWS_PAGER\n{show}\naws ec2\n")), "\n");
        assert_eq!(said_by(&format!("AWS_PAGER=most\n{show}\naws ec2\n")), "most\n");
    }

    fn said_by(script: &str) -> String {
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

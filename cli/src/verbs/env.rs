//! `karri env`: shell commands that point AWS clients at the cloud.

use crate::cloud::Cloud;
use crate::output::Format;
use std::collections::BTreeMap;

/// Debian 12's aws-cli, like all before 2.13 and 1.29, does not read AWS_ENDPOINT_URL. The first word that names
/// a service says which one is meant.
const AWS_FUNCTION: &str = r#"aws() {
  karri_url=$AWS_ENDPOINT_URL
  for karri_word in "$@"; do
    case $karri_word in
      s3|s3api) karri_url=${AWS_ENDPOINT_URL_S3:-$AWS_ENDPOINT_URL}; break ;;
      ec2|sts) break ;;
    esac
  done
  command aws --endpoint-url "$karri_url" "$@"
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
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(said, format!("--endpoint-url {url} {words}\n"));
        }
    }
}

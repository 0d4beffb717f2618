//! Jars: Apache Kafka's own, as Maven resolves them.
//!
//! **In** `mvn` and its usual settings. **Out** `libs/*.jar`. **Invariant:** a folder that is there is whole: it is filled under another
//! name and renamed. **Not here:** running them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// The version that tests and benches run on.
const KAFKA: &str = "4.1.1";
/// The logger that fits the API version Kafka brings.
const SLF4J: &str = "1.7.36";

/// Fetches the jars unless they are there, and makes sure that `java` runs.
pub(super) fn fetch(home: &Path) -> Result<()> {
    require("java", "-version", "default-jre-headless")?;
    let (libs, version) = (home.join("libs"), home.join("libs/version"));
    if fs::read_to_string(&version).is_ok_and(|v| v == KAFKA) {
        return Ok(());
    }
    require("mvn", "--version", "maven")?;
    let part = home.join("libs.part");
    for old in [&part, &libs] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    fs::write(home.join("pom.xml"), pom())?;
    eprintln!("fetching Apache Kafka {KAFKA} with Maven");
    let mut mvn = Command::new("mvn");
    mvn.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    mvn.arg(format!("-DoutputDirectory={}", part.display())).current_dir(home).stdin(Stdio::null());
    let done = mvn.output().context("mvn does not start")?;
    ensure!(
        done.status.success(),
        "mvn cannot fetch Apache Kafka {KAFKA}:\n{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    fs::write(part.join("version"), KAFKA)?;
    fs::rename(&part, &libs)?;
    Ok(())
}

fn require(program: &str, argument: &str, package: &str) -> Result<()> {
    let answers = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    ensure!(
        answers.is_ok_and(|o| o.status.success()),
        "{program} is missing; install it with\n\n    sudo apt-get install -y {package}\n"
    );
    Ok(())
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>windrow</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>\n{}{}{}  </dependencies>\n</project>\n",
        dependency("org.apache.kafka", "kafka_2.13", KAFKA),
        dependency("org.apache.kafka", "kafka-tools", KAFKA),
        dependency("org.slf4j", "slf4j-simple", SLF4J),
    )
}

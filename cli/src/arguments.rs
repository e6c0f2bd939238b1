//! Owns the command line: commands, options, help. It decides nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::failure::EXIT_CODES;

/// Ask what fits this host, and why.
#[derive(Debug, Parser)]
#[command(name = "bestfit", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Bestfit {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what is known about this host.
    #[command(after_help = HOST_EXAMPLES)]
    Host(Host),
    /// Explain which entry of an image index fits best, and why each other one does not.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Say whether an image fits: exit code 0 if it does, 1 if it does not, 2 if that cannot be told.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Say which artifacts about an image somebody signed whom this site trusts: exit code 0 if all are, 1 if one is not or there
    /// is none, 2 if that cannot be told.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Try a change of the configuration before it is rolled out.
    #[command(after_help = POLICY_EXAMPLES, subcommand)]
    Policy(Policy),
    /// List the containers of this node, and what was chosen for each.
    #[command(after_help = PS_EXAMPLES)]
    Ps(Ps),
    /// Check this node: programs, containerd, configuration, directories, and what the kernel can hold the decider back from. Exit
    /// code 1 where something is wrong, 2 where something could not be looked at.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Check and show the configuration.
    #[command(after_help = CONFIG_EXAMPLES, subcommand)]
    Config(Config),
    /// Check the files of group schemas, and show what keys mean.
    #[command(after_help = SCHEMA_EXAMPLES, subcommand)]
    Schema(Schema),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  bestfit completions bash > /etc/bash_completion.d/bestfit")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the man pages into a directory, one per command.
    #[command(after_help = "Examples:\n  bestfit man /usr/local/share/man/man1")]
    Man {
        /// An existing directory.
        directory: PathBuf,
    },
    /// Print docs/cli.md.
    #[command(hide = true)]
    Markdown,
}

#[derive(Debug, Args)]
pub(crate) struct Host {
    /// Print JSON: {"facts": {GROUP: {KEY: {"state": "known|absent|unknown", "value": ..., "source": "..."}}}, "features": ...}
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// What to print. What NFD's two forms cannot say, because it could not be read, goes to standard error.
    #[arg(long, value_enum, default_value_t = HostFormat::Table)]
    pub(crate) format: HostFormat,
    /// Read the files of another host below this directory, or its snapshot (--save); nothing of the running machine is looked
    /// at.
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) root: Option<PathBuf>,
    /// Write a snapshot instead: all that was read, failures included, as one file of JSON; `-` writes standard output. Commands
    /// that ask about a host take it by --root, anywhere, and see this host. It holds what the host says of itself, its name and serial numbers of USB
    /// devices and GPUs among it: look before you send it. Hooks are not part of it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "format"])]
    pub(crate) save: Option<PathBuf>,
}

/// The forms of what is known about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostFormat {
    /// A line for each fact.
    Table,
    /// As with --json.
    Json,
    /// NFD's raw features, as in its NodeFeature objects: {"flags": ..., "attributes": ..., "instances": ...}
    NfdFeatures,
    /// NFD's labels under its default configuration: {"feature.node.kubernetes.io/...": "..."}
    NfdLabels,
}

/// Which host is asked about.
#[derive(Debug, Args)]
pub(crate) struct AskedHost {
    /// Ask for the host with these facts, as `bestfit host --json` printed them there; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    pub(crate) facts: Option<PathBuf>,
    /// Ask for the host whose files lie below this directory, or whose snapshot (`bestfit host --save`) this is.
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) root: Option<PathBuf>,
    /// Ask for a container that is given these of the host's GPUs, accelerators and fabrics: `all`, `none`, or names as a
    /// container's spec has them: nodes (`/dev/nvidia0`), CDI devices (`nvidia.com/gpu=0`), or what NVIDIA_VISIBLE_DEVICES
    /// takes (`0`, `GPU-…`). The shim sees in each container's spec what it was given.
    #[arg(long, value_name = "all|none|NAME,…", default_value = "all", value_parser = devices)]
    pub(crate) devices: Devices,
    /// Use the configuration of this profile.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Hold this fact of the image against the host, too, as selection.check in the configuration does: a site that binds its
    /// own MPI into containers asks for org.supercontainers/mpi.implementation. `*` stands for any text; repeatable.
    #[arg(long, value_name = "GROUP/KEY", value_parser = pattern)]
    pub(crate) check: Vec<String>,
}

/// Which devices of the host a container is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Devices {
    /// All of them.
    All,
    /// None: no fact about them holds.
    None,
    /// These.
    Named(Vec<String>),
}

fn devices(text: &str) -> Result<Devices, String> {
    match text {
        _ if text.eq_ignore_ascii_case("all") => Ok(Devices::All),
        _ if text.eq_ignore_ascii_case("none") => Ok(Devices::None),
        _ if text.split(',').any(str::is_empty) => Err("write all, none, or names with commas between them".to_owned()),
        names => Ok(Devices::Named(names.split(',').map(str::to_owned).collect())),
    }
}

/// A pattern of keys.
fn pattern(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((group, key)) if !group.is_empty() && !key.is_empty() => Ok(text.to_owned()),
        _ => Err("write GROUP/KEY, such as org.supercontainers/mpi.implementation".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The image: a registry reference, or oci:DIR or oci:DIR:TAG for an OCI layout on disk.
    #[arg(value_name = "REF", required_unless_present = "record")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    pub(crate) host: AskedHost,
    /// Print the decision record as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Decide again on the inputs that this record names, and say whether the decision is the same: exit code 0 if it is,
    /// 1 if not. Of a log with many records the last one counts; `-` reads standard input. REF, where given, says where
    /// content is read that the record names by digest.
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The image: a registry reference, or oci:DIR or oci:DIR:TAG for an OCI layout on disk.
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) host: AskedHost,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The image: a registry reference, or oci:DIR or oci:DIR:TAG for an OCI layout on disk.
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// Use the configuration of this profile.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Say what another configuration would decide about images on this host, and what the one in force decides: exit code 0
    /// if nothing changes, 1 if something does.
    #[command(after_help = POLICY_EXAMPLES)]
    Test(PolicyTest),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyTest {
    /// The other main file; conf.d and profiles beside it are read as well.
    #[arg(value_name = "POLICY")]
    pub(crate) file: PathBuf,
    /// The images.
    #[arg(value_name = "REF", required = true)]
    pub(crate) references: Vec<String>,
    #[command(flatten)]
    pub(crate) host: AskedHost,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// containerd's socket, instead of CONTAINERD_ADDRESS or /run/containerd/containerd.sock.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<String>,
    /// Only the containers of this namespace of containerd.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// containerd's socket, instead of CONTAINERD_ADDRESS or /run/containerd/containerd.sock.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<String>,
    /// Check the configuration of this profile.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Print JSON: {"state": "ok|warning|wrong|unknown", "checks": [{"name", "state", "found", "hint"}]}
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Read all files and report every mistake at once.
    #[command(after_help = CONFIG_CHECK_EXAMPLES)]
    Check(ConfigPlace),
    /// Print the values in force, and where each comes from.
    #[command(after_help = CONFIG_SHOW_EXAMPLES)]
    Show(ConfigPlace),
    /// Print docs/configuration.md.
    #[command(after_help = "Examples:\n  bestfit config reference > configuration.md")]
    Reference,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// Report everything that is wrong with schema files at once: exit code 65 where one would be refused.
    #[command(after_help = SCHEMA_LINT_EXAMPLES)]
    Lint(SchemaLint),
    /// Print the groups and keys that are known here, the site's schemas included.
    #[command(after_help = SCHEMA_SHOW_EXAMPLES)]
    Show(SchemaShow),
    /// Print a page of docs/keys: the index, or the page of a group.
    #[command(after_help = "Examples:\n  bestfit schema reference host > host.md")]
    Reference(SchemaReference),
}

#[derive(Debug, Args)]
pub(crate) struct SchemaReference {
    /// The group, such as host.
    #[arg(value_name = "GROUP")]
    pub(crate) group: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaLint {
    /// The files; `-` reads standard input.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaShow {
    /// One group, or one key of it.
    #[arg(value_name = "GROUP[/KEY]")]
    pub(crate) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigPlace {
    /// The main file, instead of BESTFIT_CONFIG or /etc/bestfit/config.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Read this profile's file as well.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bestfit host                          what this machine is
  bestfit explain ghcr.io/owner/app:v1  which entry fits it best, and why the others do not
  bestfit ps                            what was chosen for the containers of this node";

const HOST_EXAMPLES: &str = "\
Examples:
  bestfit host                        what is known about this host, and from where
  bestfit host --json > node7.json    the same for `bestfit explain --facts node7.json` elsewhere
  bestfit host --root /mnt/node7      what the files below a directory say
  bestfit host --save node7.snapshot  all that was read here, for `--root node7.snapshot` elsewhere: a bug report
  bestfit host --format nfd-labels    the labels that NFD would give this node";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  bestfit explain ghcr.io/owner/app:v1
  bestfit explain oci:./layout:v1 --facts node7.json
  bestfit explain ghcr.io/owner/app:v1 --json > record.json
  bestfit explain --record record.json    the same decision again?
  grep CONTAINER /var/log/bestfit/decisions.jsonl | tail -n 1 | bestfit explain --record -";

const CHECK_EXAMPLES: &str = "\
Examples:
  bestfit check ghcr.io/owner/app:v1 && echo fits
  bestfit check oci:./layout --facts node7.json --json
  bestfit check ghcr.io/owner/app:v1 --check org.supercontainers/mpi.implementation";

const VERIFY_EXAMPLES: &str = "\
Examples:
  bestfit verify registry.example/hpc/app:v1
  bestfit verify oci:./layout:v1 --profile signed --json";

const POLICY_EXAMPLES: &str = "\
Examples:
  bestfit policy test ./new.toml registry.example/hpc/app:v1 registry.example/hpc/tool:v2
  bestfit policy test ./new.toml oci:./layout:v1 --facts node7.json --json";

const PS_EXAMPLES: &str = "\
Examples:
  bestfit ps
  bestfit ps --namespace k8s.io --address /run/k3s/containerd/containerd.sock --json";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  bestfit doctor
  bestfit doctor --address /run/k3s/containerd/containerd.sock --json";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  bestfit schema lint my-field.json
  bestfit schema show host/kernel.version";

const SCHEMA_LINT_EXAMPLES: &str = "\
Examples:
  bestfit schema lint my-field.json
  bestfit schema lint /etc/bestfit/schemas.d/*.json --json";

const SCHEMA_SHOW_EXAMPLES: &str = "\
Examples:
  bestfit schema show                       all keys
  bestfit schema show host/kernel.version   one key in full
  bestfit schema show nfd --json";

const CONFIG_EXAMPLES: &str = "\
Examples:
  bestfit config check
  bestfit config show";

const CONFIG_CHECK_EXAMPLES: &str = "\
Examples:
  bestfit config check
  bestfit config check --file ./config.toml --profile signed";

const CONFIG_SHOW_EXAMPLES: &str = "\
Examples:
  bestfit config show
  bestfit config show --profile signed --json";

//! The operator's command line.

fn main() -> std::process::ExitCode {
    bedrock_key_guard::cli::main()
}

//! The operator's command line.

/// `replay` makes and drops a great many small things in each ledger write.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bedrock_key_guard::cli::main()
}

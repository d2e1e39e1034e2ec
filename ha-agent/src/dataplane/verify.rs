//! Every program of the object before the kernel's verifier, one after the other, attached to nothing.

use aya::programs::{Program, ProgramError, ProgramInfo};
use aya::{EbpfLoader, VerifierLogLevel};

use super::{LoadError, embedded};

/// What became of one program.
#[derive(Debug)]
pub struct Verified {
    /// Its name, as `bpftool prog show` prints it.
    pub name: String,
    /// What the kernel says of it once it is loaded, or why it refuses it.
    pub outcome: Result<ProgramInfo, LoadError>,
}

/// Has the kernel check all programs that the build put into this binary, by name. They are gone when this returns.
///
/// # Errors
///
/// See [`LoadError`]: the object's maps can't be made. What is wrong with a single program is in its [`Verified`].
pub fn verify() -> Result<Vec<Verified>, LoadError> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    let mut bpf = loader.load(embedded().ok_or(LoadError::NoObject)?).map_err(LoadError::from_ebpf)?;
    let verified = |(name, program): (&str, &mut Program)| Verified {
        name: name.to_owned(),
        outcome: load(program).and_then(|()| program.info()).map_err(LoadError::from_program),
    };
    let mut all: Vec<_> = bpf.programs_mut().map(verified).collect();
    all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::SocketFilter(program) => program.load(),
        // aya knows many more kinds, and the object has none of them.
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

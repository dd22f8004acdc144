//! A kernel and the functions it calls, in one list of instructions. There is no recursion, so that every function has
//! its registers, arrays and parameters once per thread.

use super::builder::{Builder, Result};
use super::modifiers::Modifiers;
use super::{Class, Instruction, Program, Step};
use crate::capability::Target;
use crate::error::ParseError;
use crate::execute::warpgroup::GroupStep;
use crate::instructions;
use crate::memory::{LOCAL_BASE, PARAM_BASE, SHARED_BASE};
use crate::parse::syntax::{Function, Operand, Space, Statement, Variable};
use std::collections::HashMap;

/// Where a jump goes until everything has its place.
struct Jump {
    instruction: usize,
    /// Which of an indexed branch's targets.
    entry: usize,
    function: usize,
    statement: usize,
}

/// Bytes of parameters that a kernel may have before PTX 8.1.
const MOST_PARAMETERS: usize = 4352;

/// Makes a program of a kernel.
pub(crate) fn link(
    target: Target,
    functions: &[Function],
    entry: &Function,
    globals: &HashMap<String, (u64, Space)>,
    shared: &[&Variable],
) -> Result<Program> {
    let order = reachable(functions, entry)?;
    let nothing =
        Statement { line: entry.line, scope: 0, guard: None, opcode: String::new(), operands: Vec::new() };
    let mut b = Builder::new(target, globals, entry, &nothing);
    let (mut parameters, mut parameter_bytes) = (Vec::new(), 0usize);
    for parameter in &entry.parameters {
        let offset = parameter_bytes.next_multiple_of(parameter.align);
        parameters.push((offset, parameter.size));
        parameter_bytes = offset + parameter.size;
        b.variables.insert((0, 0, parameter.name.clone()), (PARAM_BASE, offset));
    }
    if parameter_bytes > MOST_PARAMETERS {
        let message = format!(
            "kernel {}: {parameter_bytes} bytes of parameters, {MOST_PARAMETERS} are possible",
            entry.name
        );
        return Err(ParseError::new(entry.line, message));
    }
    for (number, function) in order.iter().enumerate() {
        if number > 0 {
            for parameter in function.parameters.iter().chain(&function.returns) {
                let start = b.local.place(&parameter.name, parameter.size, parameter.align);
                b.variables.insert((number, 0, parameter.name.clone()), (LOCAL_BASE, start));
            }
        }
        for variable in &function.variables {
            let key = (number, variable.scope, variable.name.clone());
            let place = match variable.space {
                Space::Shared => (SHARED_BASE, b.shared.place(&variable.name, variable.size, variable.align)),
                Space::Local | Space::Param => {
                    (LOCAL_BASE, b.local.place(&variable.name, variable.size, variable.align))
                }
                _ => {
                    return Err(ParseError::new(
                        function.line,
                        format!("variable {} in a function", variable.name),
                    ));
                }
            };
            b.variables.insert(key, place);
        }
    }
    // Shared arrays of the module: those that are used. The unsized one comes last and grows with the launch.
    for sized in [true, false] {
        for variable in shared.iter().filter(|v| (v.size > 0) == sized && uses(&order, &v.name)) {
            let start = b.shared.place(&variable.name, variable.size, variable.align);
            if !sized {
                b.shared.arrays.pop();
                b.dynamic = Some((variable.name.clone(), start));
            }
            for number in 0..order.len() {
                b.variables.insert((number, 0, variable.name.clone()), (SHARED_BASE, start));
            }
        }
    }
    let mut jumps = Vec::new();
    let mut starts: Vec<Vec<usize>> = Vec::new();
    let mut calls: Vec<(usize, usize)> = Vec::new();
    for (number, function) in order.iter().enumerate() {
        (b.function, b.number) = (function, number);
        let mut own = Vec::new();
        for statement in &function.statements {
            own.push(b.out.len());
            b.statement = statement;
            b.modifiers = Modifiers::new(&statement.opcode);
            b.named.clear();
            one(&mut b, &order, &mut jumps, &mut calls)?;
            if let Some(left) = b.modifiers.left() {
                return b.fail(format!("unknown modifier `.{left}`"));
            }
        }
        own.push(b.out.len());
        // A body may end without `ret`.
        let step = if number == 0 { Step::Exit } else { Step::Return };
        let class = Class::Control;
        b.out.push(Instruction {
            guard: None,
            step,
            line: function.line,
            class,
            flops: 0,
            sums: Box::default(),
        });
        starts.push(own);
    }
    for jump in jumps {
        let to = starts[jump.function][jump.statement];
        match &mut b.out[jump.instruction].step {
            Step::Indexed { targets, .. } => targets[jump.entry] = to,
            step => *step = Step::Branch(to),
        }
    }
    for (instruction, function) in calls {
        b.out[instruction].step = Step::Call(starts[function][0]);
    }
    let multiplies = keep_sums(&mut b.out, b.words);
    Ok(Program {
        name: entry.name.clone(),
        target,
        instructions: b.out,
        words: b.words,
        wides: b.wides,
        predicates: b.predicates,
        specials: b.specials.into_iter().collect(),
        wide_constants: b.wide_constants.into_iter().collect(),
        parameters,
        parameter_bytes,
        shared: b.shared,
        dynamic: b.dynamic,
        local: b.local,
        max_threads: entry.max_threads.unwrap_or(1024),
        multiplies,
    })
}

/// Leaves of the registers that instructions name those that are sums of a `wgmma`; the `wgmma` look after their own.
/// Whether there is any.
fn keep_sums(instructions: &mut [Instruction], words: usize) -> bool {
    let mut sums = vec![false; words];
    let mut any = false;
    for instruction in instructions.iter() {
        if let Step::Warpgroup(GroupStep::Multiply(multiply)) = &instruction.step {
            any = true;
            multiply.sums.iter().for_each(|&register| sums[register] = true);
        }
    }
    for instruction in instructions {
        let own = matches!(instruction.step, Step::Warpgroup(_));
        let kept = instruction.sums.iter().copied().filter(|&register| !own && sums[register]);
        instruction.sums = kept.collect();
    }
    any
}

/// Name of the function that a statement calls.
fn callee(statement: &Statement) -> Option<&str> {
    let names = || {
        statement
            .operands
            .iter()
            .filter_map(|o| if let Operand::Name(n) = o { Some(n.as_str()) } else { None })
    };
    if statement.opcode.starts_with("call") { names().next() } else { None }
}

/// The kernel, then every function it calls.
fn reachable<'a>(functions: &'a [Function], entry: &'a Function) -> Result<Vec<&'a Function>> {
    let mut order = vec![entry];
    let mut at = 0;
    while at < order.len() {
        for statement in &order[at].statements {
            if let Some(name) = callee(statement)
                && !order.iter().any(|f| f.name == name)
            {
                match functions.iter().find(|f| f.name == name && !f.entry) {
                    Some(found) => order.push(found),
                    None => {
                        let message = format!("{}: function `{name}` is not in the module", statement.opcode);
                        return Err(ParseError::new(statement.line, message));
                    }
                }
            }
        }
        at += 1;
    }
    // Without recursion there is an order in which nobody calls someone earlier; find it or fail.
    let mut open: Vec<usize> = (0..order.len()).collect();
    while !open.is_empty() {
        let calls =
            |i: usize, j: usize| order[i].statements.iter().any(|s| callee(s) == Some(&order[j].name));
        let before = open.len();
        let leaf = open.iter().position(|&i| !open.iter().any(|&j| calls(i, j)));
        if let Some(leaf) = leaf {
            open.remove(leaf);
        }
        if open.len() == before {
            let message = format!("function {} is recursive, which is not emulated", order[open[0]].name);
            return Err(ParseError::new(order[open[0]].line, message));
        }
    }
    Ok(order)
}

fn uses(order: &[&Function], name: &str) -> bool {
    fn mentions(operand: &Operand, name: &str) -> bool {
        match operand {
            Operand::Name(found) => found == name,
            Operand::Address { base, coordinates, .. } => {
                base.as_deref() == Some(name) || coordinates.iter().flatten().any(|o| mentions(o, name))
            }
            Operand::List(list) => list.iter().any(|o| mentions(o, name)),
            _ => false,
        }
    }
    order.iter().any(|f| f.statements.iter().any(|s| s.operands.iter().any(|o| mentions(o, name))))
}

/// Instructions of one statement.
fn one(
    b: &mut Builder<'_>,
    order: &[&Function],
    jumps: &mut Vec<Jump>,
    calls: &mut Vec<(usize, usize)>,
) -> Result<()> {
    let function = b.number;
    match b.modifiers.name.as_str() {
        "bra" => {
            b.modifiers.flag("uni");
            let Operand::Name(label) = b.operand(0)? else { return b.fail("expected a label") };
            let Some(&statement) = b.scoped(&b.function.labels, label) else {
                return b.fail(format!("label `{label}` is not known"));
            };
            jumps.push(Jump { instruction: b.out.len(), entry: 0, function, statement });
            b.push(Step::Branch(0), Class::Control, 0)
        }
        "brx" => {
            if !b.modifiers.flag("idx") {
                return b.fail("expected .idx");
            }
            b.modifiers.flag("uni");
            let index = b.src(0, crate::parse::types::Type::U32)?;
            let Operand::Name(table) = b.operand(1)? else { return b.fail("expected a list of labels") };
            let Some(labels) = b.scoped(&b.function.tables, table) else {
                return b.fail(format!("list `{table}` is not known"));
            };
            for (entry, label) in labels.iter().enumerate() {
                let Some(&statement) = b.scoped(&b.function.labels, label) else {
                    return b.fail(format!("label `{label}` is not known"));
                };
                jumps.push(Jump { instruction: b.out.len(), entry, function, statement });
            }
            b.push(Step::Indexed { index, targets: vec![0; labels.len()] }, Class::Control, 0)
        }
        "call" => {
            b.modifiers.flag("uni");
            let name = callee(b.statement).unwrap_or_default();
            let Some(number) = order.iter().position(|f| f.name == name) else {
                return b.fail("indirect calls are not emulated");
            };
            let lists: Vec<&[Operand]> = b
                .statement
                .operands
                .iter()
                .filter_map(|o| if let Operand::List(l) = o { Some(&l[..]) } else { None })
                .collect();
            let named = b.statement.operands.first();
            let (returns, arguments): (&[Operand], &[Operand]) = match (named, &lists[..]) {
                (Some(Operand::List(_)), [returns]) => (returns, &[]),
                (Some(Operand::List(_)), [returns, arguments, ..]) => (returns, arguments),
                (_, [arguments, ..]) => (&[], arguments),
                _ => (&[], &[]),
            };
            copies(b, arguments, number, &order[number].parameters, true)?;
            calls.push((b.out.len(), number));
            b.push(Step::Call(0), Class::Control, 0)?;
            copies(b, returns, number, &order[number].returns, false)
        }
        "ret" => {
            b.modifiers.flag("uni");
            let step = if function == 0 { Step::Exit } else { Step::Return };
            b.push(step, Class::Control, 0)
        }
        _ => instructions::decode(b),
    }
}

/// Copies arguments to a function's parameters, or results back.
fn copies(
    b: &mut Builder<'_>,
    own: &[Operand],
    function: usize,
    formal: &[Variable],
    forth: bool,
) -> Result<()> {
    if own.len() != formal.len() {
        return b.fail(format!("{} arguments or results, expected {}", own.len(), formal.len()));
    }
    for (operand, formal) in own.iter().zip(formal) {
        let Operand::Name(name) = operand else { return b.fail("arguments must be parameters") };
        let Some((address, Space::Local)) = b.variable(name) else {
            return b.fail(format!("`{name}` is not a parameter of a call"));
        };
        let here = (address - LOCAL_BASE) as usize;
        let Some(&(_, there)) = b.variables.get(&(function, 0, formal.name.clone())) else {
            return b.fail(format!("parameter {} is not known", formal.name));
        };
        let (from, to) = if forth { (here, there) } else { (there, here) };
        b.access(instructions::memory::copy_local(from, to, formal.size), Class::Move)?;
    }
    Ok(())
}

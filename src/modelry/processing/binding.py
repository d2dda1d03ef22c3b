"""From normalised steps to functions ready to run, with every misfit found before they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from modelry.domain.errors import InvalidInput, ManifestInvalid
from modelry.domain.signature import Signature
from modelry.processing import finishing
from modelry.processing.declaration import place, step_kind
from modelry.processing.kinds import Assets, Building, Side, StepKind
from modelry.processing.outputs import only_output, output_form, pick_output
from modelry.processing.parameters import Parameter, Unfit, read_parameters
from modelry.processing.values import Form, Stage


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step with its arguments; `options` are the parameters that requests may override.

    `ranks` says that it turns scores into ranked classes.
    """

    run: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Parameter] = field(default_factory=dict)
    each: bool = False
    uses_context: bool = False
    ranks: bool = False

    def with_options(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        """The function to call, with what the request overrides.

        Raises:
            InvalidInput: an option is not what the parameter takes.
        """
        arguments = dict(self.arguments)
        for option, parameter in self.options.items():
            value = options.get(option)
            if value is None:
                continue
            try:
                arguments[parameter.name] = replace(parameter, name=option).read(value)
            except Unfit as reason:
                raise InvalidInput(f"Option {reason}", param=option) from None
        return partial(self.run, **arguments) if arguments else self.run


@dataclass(frozen=True, slots=True)
class Chain:
    """Bound steps of one side, and what is known of the value after them."""

    steps: tuple[BoundStep, ...]
    form: Form
    kinds: tuple[StepKind, ...]

    @property
    def options(self) -> Mapping[str, Parameter]:
        """What requests may override."""
        return {name: entry for step in self.steps for name, entry in step.options.items()}

    def fields(self) -> frozenset[str]:
        """Fields of items that the steps read."""
        return frozenset(name for kind in self.kinds for name in kind.reads)


def bind_chain(
    declared: Sequence[Mapping[str, Any]], side: Side, signature: Signature, assets: Assets
) -> Chain:
    """Bind normalised steps.

    Raises:
        ManifestInvalid: a step cannot work on what comes before it, misses a file, or does
            not fit the model; names it.
    """
    form = Form(Stage.ITEMS if side == "pre" else Stage.OUTPUTS)
    bound: list[BoundStep] = []
    kinds: list[StepKind] = []
    for index, entry in enumerate(declared):
        kind = step_kind(entry, side, index)
        building = Building(signature, assets, declared[index + 1 :], form)
        try:
            adapted, form = _adapt(kind, building)
            if kind.each and not all(earlier.each for earlier in kinds):
                raise Unfit("it works on single items, after steps that work on all together.")
            step, form = _bind(kind, entry, replace(building, form=form))
        except Unfit as reason:
            where = place(side, index, kind.name)
            raise ManifestInvalid(where + str(reason), param=f"{side}[{index}]") from None
        bound += [*adapted, step]
        kinds.append(kind)
    if side == "pre":
        try:
            last, form = _finish(form, signature)
        except Unfit as reason:
            raise ManifestInvalid(f"At the end of 'pre': {reason}", param="pre") from None
        bound += last
    return Chain(tuple(bound), form, tuple(kinds))


def _bind(kind: StepKind, entry: Mapping[str, Any], building: Building) -> tuple[BoundStep, Form]:
    given = {name: value for name, value in entry.items() if name != "step"}
    parameters = read_parameters(kind.parameters, given)
    arguments = kind.prepare(parameters, building)
    after = kind.trace(building.form, arguments)
    return (
        BoundStep(
            run=kind.run,
            arguments=arguments,
            options={entry.option: entry for entry in kind.parameters if entry.option},
            each=kind.each,
            uses_context=kind.uses_context,
            ranks=kind.gives is Stage.RANKING,
        ),
        replace(after, stage=kind.gives or after.stage),
    )


def _adapt(kind: StepKind, building: Building) -> tuple[list[BoundStep], Form]:
    """What must happen before the step can take the value, if it can."""
    form = building.form
    if form.stage in kind.takes:
        return [], form
    if form.stage is Stage.PICTURE and Stage.PIXELS in kind.takes:
        return [BoundStep(finishing.stack_pictures)], finishing.pixel_form(form)
    if form.stage is Stage.OUTPUTS and Stage.TENSOR in kind.takes:
        spec = only_output(building)
        return [BoundStep(pick_output, {"spec": spec}, uses_context=True)], output_form(spec)
    raise Unfit(
        f"it works on {' or '.join(kind.takes)}, but what comes before it gives {form.stage}."
    )


def _finish(form: Form, signature: Signature) -> tuple[list[BoundStep], Form]:
    """What turns the last value before the engine into its input tensors."""
    steps: list[BoundStep] = []
    if form.stage is Stage.ITEMS:
        return [BoundStep(finishing.stack_raw_inputs, {"signature": signature})], form
    if form.stage is Stage.PICTURE:
        steps.append(BoundStep(finishing.stack_pictures))
        form = finishing.pixel_form(form)
    if form.stage is Stage.PIXELS:
        spec = finishing.pixel_input(form, signature)
        steps.append(BoundStep(finishing.finish_pixels, {"spec": spec}))
        form = replace(form, names=frozenset({spec.name}))
    finishing.check_inputs_made(form, signature)
    return steps, form

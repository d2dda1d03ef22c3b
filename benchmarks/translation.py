"""Translation by a model that is trained here, against copying and word for word.

    python -m benchmarks.translation                    English to German, LibreOffice's strings
    python -m benchmarks.translation --rows help        the same, learnt from its help, too
    python -m benchmarks.translation --rows words       English words to phonemes (CMUdict)
    python -m benchmarks.translation --epochs 1 --test 50   the shortest run that says something

Trains by the recipe `seq2seq` on one core, serves the version by a real server, and asks it over
`/v1/translate` for the texts of the split `test`, which training never saw. chrF and BLEU are
sacrebleu's; a row's split follows from its letters, so that no text is on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from benchmarks import machine
from benchmarks.help_texts import help_texts
from benchmarks.parallel_texts import interface_texts, pronunciations
from benchmarks.served import modelry
from benchmarks.text_training import (
    CLIENTS,
    MODEL,
    Pairs,
    Rows,
    answered,
    deploy,
    examples,
    folder_of,
    parsed,
    told,
    train,
)
from benchmarks.word_for_word import WordForWord
from modelry.metrics.text import bleu, chrf, exact_matches

LONG_WORDS = 4
RESAMPLES = 1000


def interface_rows() -> Rows:
    """LibreOffice's strings, English to German."""
    splits = interface_texts("de")
    parameters = {
        "vocabulary": 3000,
        "width": 192,
        "encoder_layers": 3,
        "decoder_layers": 2,
        "dropout": 0.15,
        "merge_dropout": 0.0,
        "epochs": 27,
        "tokens_per_batch": 1024,
        "learning_rate": 2e-3,
        "cpu_bfloat16": True,
        "source_tokens": 256,
        "target_tokens": 256,
        "length_penalty": 1.5,
        "source_language": "en",
        "target_language": "de",
    }
    dictionary = WordForWord(splits["train"])
    return Rows("LibreOffice, en-de", splits, parameters, _simple(dictionary))


def help_rows() -> Rows:
    """The same rows to ask for, and LibreOffice's help to learn from, too."""
    rows = interface_rows()
    held_out = [source for name in ("validation", "test") for source, _ in rows.splits[name]]
    train = rows.splits["train"] + help_texts("de", held_out)
    parameters = {
        **rows.parameters,
        "vocabulary": 6000,
        "dropout": 0.2,
        "token_dropout": 0.0,
        "epochs": 9,
        "tokens_per_batch": 2048,
    }
    dictionary = WordForWord(train)
    splits = {**rows.splits, "train": train}
    return Rows("LibreOffice with its help, en-de", splits, parameters, _simple(dictionary))


def word_rows() -> Rows:
    """Words to phonemes."""
    splits = pronunciations()
    parameters = {
        "vocabulary": 340,
        "width": 96,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "dropout": 0.1,
        "epochs": 12,
        "tokens_per_batch": 1024,
        "learning_rate": 3e-3,
        "source_tokens": 48,
        "target_tokens": 64,
    }
    dictionary = WordForWord(splits["train"], cut_source=list, cut_target=str.split, glue=" ")
    return Rows("CMUdict, words to phonemes", splits, parameters, _simple(dictionary))


ROWS = {"interface": interface_rows, "help": help_rows, "words": word_rows}


def measured(written: Sequence[str], test: Pairs) -> list[str]:
    """chrF, BLEU and exact matches of all rows, and chrF of the longer ones."""
    wanted = [target for _, target in test]
    found = [f"{measure(written, wanted):.1f}" for measure in (chrf, bleu, exact_matches)]
    long = [at for at, (source, _) in enumerate(test) if len(source.split()) >= LONG_WORDS]
    if long:
        found.append(f"{chrf([written[at] for at in long], [wanted[at] for at in long]):.1f}")
    return [*found, *["-"] * (4 - len(found))]


def difference(written: Sequence[str], simple: Mapping[str, Sequence[str]], test: Pairs) -> str:
    """How sure it is that the answers are better than the best simple ones: paired bootstrap."""
    wanted = [[target for _, target in test]]
    best = max(simple, key=lambda name: chrf(simple[name], wanted[0]))
    measures = {"chrF": CHRF(references=wanted), "BLEU": BLEU(references=wanted)}
    systems: list[tuple[str, Sequence[str]]] = [
        (best, list(simple[best])),
        ("trained", list(written)),
    ]
    _, found = PairedTest(systems, measures, None, test_type="bs", n_samples=RESAMPLES)()
    told = []
    for name, scores in found.items():
        results = [score for score in scores if isinstance(score, Result)]
        if results:
            theirs, ours = (f"{one.mean:.1f} ± {one.ci:.1f}" for one in results)
            told.append(f"{name} {theirs} and {ours}, p = {results[1].p_value:.3f}")
    return f"- {best} and the trained ones, paired bootstrap of {RESAMPLES}: {'; '.join(told)}"


def _simple(dictionary: WordForWord) -> dict[str, Callable[[str], str]]:
    return {"the source itself": str, "word for word": dictionary.translate}


def main() -> None:
    """Train, serve, ask, compare, write the result file."""
    arguments = parsed(__doc__, list(ROWS))
    rows = ROWS[arguments.rows]()
    test = rows.splits["test"][: arguments.test]
    texts = [source for source, _ in test]
    with folder_of(arguments) as folder:
        trained, shown, seconds = train(rows, folder, arguments)
        simple = {name: [answer(text) for text in texts] for name, answer in rows.simple.items()}
        compared = [[name, *measured(answers, test)] for name, answers in simple.items()]
        speeds: list[list[str]] = []
        with modelry() as served:
            deploy(served, trained, folder)
            written: list[str] = []
            for beams in (1, 4):
                rates = []
                for clients in CLIENTS:
                    written, rate = answered(
                        lambda text, beams=beams: (  # type: ignore[misc]
                            served.client.translate(MODEL, text, beams=beams).text
                        ),
                        texts,
                        clients,
                    )
                    rates.append(f"{rate:.0f}")
                compared.append([f"trained, {beams} beam(s), served", *measured(written, test)])
                speeds.append([str(beams), *rates])
    columns = ["answers", "chrF", "BLEU", "exact %", f"chrF, {LONG_WORDS} words and more"]
    machine.write(
        f"translation-{arguments.rows}",
        f"Translation: {rows.title}",
        [
            *told(rows, trained, shown, seconds, arguments)[:-1],
            difference(written, simple, test),
            "",
            *machine.table(columns, compared),
            "",
            "Texts per second over HTTP, one text a request, on one core:",
            "",
            *machine.table(["beams", *(f"{one} clients" for one in CLIENTS)], speeds),
            "",
            *examples(test, written),
        ],
    )


if __name__ == "__main__":
    main()

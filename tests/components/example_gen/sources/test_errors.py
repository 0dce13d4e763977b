import pickle

from components.example_gen.sources.errors import DataError, listed, place, quoted


def test_message_has_all_parts_in_one_line() -> None:
    error = DataError(place("a\nb.csv", "row 3", "column label"), "'x'", "a number", "correct it")
    assert str(error) == "a b.csv, row 3, column label: found 'x', expected a number; correct it"


def test_message_without_fix() -> None:
    assert str(DataError("a.csv", "'x'", "a number")) == "a.csv: found 'x', expected a number"


def test_message_as_text_stays_as_it_is() -> None:
    error = DataError("a.csv", "'x'", "a number", "correct it")
    assert str(DataError(str(error))) == str(error)


def test_survives_pickling() -> None:
    error = DataError("a.csv", "'x'", "a number", "correct it")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.fix) == (DataError, str(error), "correct it")


def test_long_values_are_cut() -> None:
    assert len(quoted("x" * 10_000)) < 200
    assert quoted("short") == "'short'"


def test_long_lists_are_cut() -> None:
    assert listed([str(number) for number in range(12)]).endswith("'9' and 2 more")
    assert listed([]) == "nothing"

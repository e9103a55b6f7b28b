import pickle

from policies.refusal import Refusal

LINE = "`hidden_size` 10 is too small\nfor `budget` 50,000: at least 158 fits"


def test_a_program_sees_plain_names_and_a_command_line_its_own():
    refusal = Refusal(LINE)
    assert str(refusal) == "hidden_size 10 is too small for budget 50,000: at least 158 fits"
    assert refusal.render(lambda name: "--" + name.replace("_", "-")) == (
        "--hidden-size 10 is too small for --budget 50,000: at least 158 fits"
    )


def test_it_knows_the_field_at_fault():
    assert Refusal(LINE).fields[0] == "hidden_size"
    assert Refusal("the folder holds no config.yaml").fields == []


def test_it_crosses_from_process_to_process():
    refusal = pickle.loads(pickle.dumps(Refusal(LINE)))
    assert (str(refusal), refusal.fields) == (str(Refusal(LINE)), Refusal(LINE).fields)

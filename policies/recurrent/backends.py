"""The rule behind `backend="auto"`.

Cost of the compressed recurrent matrix relative to the full one, forward and backward of a whole layer (20 inputs, 4
outputs), processor time of one thread on an AVX-512 x86-64 machine; beside it the density at which both cost the same:

    ReLU     batch   density 0.1   0.2   0.3   0.45  0.6   1.0    equal at     tanh: equal at
    n 260     1              1.15  1.50  1.99  2.64  3.43  5.27     0.08            0.13
    n 260     4              0.65  0.75  1.03  1.29  1.72  2.57     0.29            0.50
    n 260    16              0.34  0.46  0.75  0.74  0.92  1.34     0.66            1.0
    n 260    64              0.42  0.53  0.64  0.90  1.11  1.81     0.52            1.0
    n 600     1              0.84  1.99  2.01  2.86  3.73  5.99     0.11            0.21
    n 600     4              0.38  0.60  0.85  1.19  1.56  2.66     0.37            0.60
    n 600    16              0.23  0.36  0.55  0.71  0.89  1.60     0.67            1.0
    n 600    64              0.37  0.41  0.52  0.74  1.33  1.57     0.53            1.0

A weight of the compressed matrix is one vector operation for up to 16 columns, hence the rise with the batch size. The
full matrix skips silent units, half of all with ReLU and none with tanh.
"""


def choose_backends(
    input_density: float, recurrent_density: float, n_steps: int, batch_size: int, relu: bool = True
) -> tuple[str, str]:
    """Return the backends, "dense" or "csr", of the input matrix U and the recurrent matrix R.

    :param n_steps: steps of the sequence; U multiplies all of them at once, R one at a time
    """
    recurrent = "csr" if recurrent_density < _limit(batch_size, 0.55 if relu else 0.95, relu) else "dense"
    # The loop over a compressed R takes columns, in which the kernels for compressed inputs match dense products even
    # for a full U (n 261, 46 inputs, 800 columns, both directions: 0.54 ms against 0.65 ms).
    inputs = "csr" if recurrent == "csr" or input_density < _limit(n_steps * batch_size, 0.5, relu) else "dense"
    return inputs, recurrent


def _limit(n_columns: int, highest: float, relu: bool) -> float:
    return min(highest, (0.1 if relu else 0.17) * n_columns**0.85)

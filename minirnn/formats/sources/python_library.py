"""What Python files are made of beside their layers: tanh and exp as in C, the reading of weights, text."""

NUMBERS = '''
def numbers(text, dtype, *shape):
    """The numbers in a text, two hexadecimal digits a byte, the lowest first."""
    return np.frombuffer(bytes.fromhex(text), dtype).reshape(shape)
'''
PARTS = '''
def parts(a):
    """2^n and exp(r) - 1, where a = n ln 2 + r."""
    n = np.rint(a * 1.44269504)
    r = a - n * 0.693359375
    r = r + n * 2.12194440e-4
    s = 0.00138888889 + r * 0.000198412698
    s = 0.00833333333 + r * s
    s = 0.0416666667 + r * s
    s = 0.166666667 + r * s
    s = 0.5 + r * s
    return np.ldexp(f4(1), np.nan_to_num(n).astype(np.int32)), r + r * r * s
'''
TANH = '''
def tanh(a):
    """E / (E + 2) with E = exp(2 a) - 1."""
    power, rest = parts(np.clip(a + a, -18.4, 18.4))
    e = power * rest + (power - 1)
    return e / (e + 2)
'''
EXP = '''
def exp(a):
    """exp(a / 2) squared, so that infinity and 0 are reached."""
    power, rest = parts(np.clip(a * 0.5, -87, 87))
    root = power + power * rest
    return root * root
'''
WINDOWS = '''
def windows(x, kernel, stride, left, right, dilation, fill):
    """The steps of every window, (T, kernel, D)."""
    sides = [np.full((n, x.shape[1]), fill, f4) for n in (left, right)]
    padded = np.concatenate([sides[0], x, sides[1]])
    count = (len(padded) - dilation * (kernel - 1) - 1) // stride + 1
    return padded[stride * np.arange(count)[:, None] + dilation * np.arange(kernel)]
'''
TEXT = '''

def encode(text):
    """Indices of the characters, 0 for those that are not there."""
    return [SYMBOLS.index(ord(c)) if ord(c) in SYMBOLS[1:] else 0 for c in text]


def decode(indices):
    """The characters at indices."""
    return "".join(chr(SYMBOLS[k]) for k in indices)
'''
DRAW = '''

def write(prompt, length, temperature=0.7, seed=0):
    """Text that goes on from a prompt, never with the unknown symbol; at temperature 0 the likeliest."""
    s, draw, text = State(), np.random.default_rng(seed), []
    y = run(s, encode(prompt) or [0])[-1]
    for _ in range(length):
        likeliest = int(y[1:].argmax()) + 1
        if temperature > 0:
            p = np.exp((y[1:].astype(float) - float(y[likeliest])) / temperature)
            text.append(int(draw.choice(len(p), p=p / p.sum())) + 1)
        else:
            text.append(likeliest)
        y = step(s, text[-1])
    return prompt + decode(text)
'''

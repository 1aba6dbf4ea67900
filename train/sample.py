"""Text of a model in training, by the float reference that checks the chip."""

import numpy as np

from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.models.tokenizer import Tokenizer
from setun.sim.reference.hgrn_bit import FloatModel
from setun.train.loop import Trainer

LENGTH = 160
TEMPERATURE = 0.8


def sample(trainer: Trainer, length: int = LENGTH) -> str:
    """`length` tokens that follow the beginning of the held-out text, seeded by the step."""
    tensors = {name: tensor.cpu().numpy() for name, tensor in trainer.weights().items()}
    model = FloatModel(Checkpoint(trainer.model.config, tensors, None))
    tokenizer = Tokenizer.from_json(trainer.text.tokenizer_json, trainer.text.vocab_size)
    draw = np.random.default_rng(trainer.progress.step)
    prompt = [int(token) for token in trainer.text.held_out[:16]]
    logits, tokens = model.forward(prompt)[-1], list(prompt)
    for _ in range(length):
        tokens.append(int(np.argmax(logits / TEMPERATURE + draw.gumbel(size=logits.shape))))
        logits = model.step(tokens[-1])
    return tokenizer.decode(tokens)

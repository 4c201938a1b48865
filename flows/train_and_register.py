"""Pairs to a registered model: train, calibrate, evaluate, register."""

from prefect import flow
from pydantic import BaseModel

from flows.prepare_data import PreparedData, prepare_data
from siamese.config import Settings
from tasks.calibrate import calibrate
from tasks.evaluate import evaluate
from tasks.register import register
from tasks.stage import Output
from tasks.train import train


class TrainedModel(BaseModel):
    """A registered version, the figures it was registered with, and the data behind both."""

    data: PreparedData
    evaluated: Output
    registered: Output


@flow(name="train-and-register")
def train_and_register(settings: Settings) -> TrainedModel:
    """Train on training writers, calibrate on others, measure on yet others, and register."""
    data = prepare_data(settings)
    trained = train(settings, data.splits, data.pairs)
    calibrated = calibrate(settings, data.splits, data.pairs, trained)
    evaluated = evaluate(settings, data.splits, data.pairs, calibrated)
    registered = register(settings, data.splits, trained, evaluated)
    return TrainedModel(data=data, evaluated=evaluated, registered=registered)

"""Generates a payload from its type with polyfactory (the extra `oxherd[testing]`)."""

from __future__ import annotations

from typing import Any

from pydantic import create_model

from oxherd.errors import ConfigError
from oxherd.payload.payload_type import PayloadType


def example(payload_type: PayloadType[Any]) -> Any:
    """A payload of the type, always the same.

    Raises:
        ConfigError: polyfactory is not installed, or cannot generate a payload.
    """
    event = payload_type.event
    try:
        from polyfactory.factories.pydantic_factory import ModelFactory
    except ImportError:
        raise ConfigError(f"{event}: pass a payload, or install oxherd[testing] to generate one.") from None
    try:
        # As a model's field, any type that pydantic supports can be generated.
        model: Any = create_model("Example", payload=(payload_type.annotation, ...))
        factory: Any = ModelFactory.create_factory(model, __random_seed__=1, __allow_none_optionals__=False)
        made = factory.build().payload
        payload_type.encode(made)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - polyfactory and the type's code may raise anything
        why = type(error).__name__
    else:
        return made
    raise ConfigError(f"{event}: no payload can be generated from its type ({why}); pass one.")

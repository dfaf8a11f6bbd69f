"""The scientist's side: pointers, dispatch, namespaces, and the client behind them."""

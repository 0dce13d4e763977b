"""The served model from outside: clients, a development server, the web page and the configuration of TF Serving."""

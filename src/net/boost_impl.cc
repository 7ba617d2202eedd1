// The one place where Asio's and Beast's own code is compiled (see cmake/net.cmake).
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>

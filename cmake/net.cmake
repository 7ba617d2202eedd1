# Asio and Beast are compiled once, in net/boost_impl.cc; other files of the room only declare them.
target_compile_definitions(net PRIVATE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
